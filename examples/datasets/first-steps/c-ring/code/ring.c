#include "ring.h"

int ring_put(struct ring *ring, unsigned char byte)
{
    ring->bytes[ring->write] = byte;
    ring->write = (ring->write + 1) % RING_SIZE;
    return 1;
}

int ring_take(struct ring *ring)
{
    if (ring_length(ring) == 0)
        return -1;
    unsigned char byte = ring->bytes[ring->read];
    ring->read = (ring->read + 1) % RING_SIZE;
    return byte;
}

size_t ring_length(const struct ring *ring)
{
    return (ring->write + RING_SIZE - ring->read) % RING_SIZE;
}
