#ifndef RING_H
#define RING_H

#include <stddef.h>

#define RING_SIZE 8

/* Bytes in the order in which they came. All zero is an empty one. */
struct ring {
    unsigned char bytes[RING_SIZE];
    size_t read, write;
};

/* 1 if there was room. */
int ring_put(struct ring *ring, unsigned char byte);

/* The oldest byte, or -1. */
int ring_take(struct ring *ring);

size_t ring_length(const struct ring *ring);

#endif
