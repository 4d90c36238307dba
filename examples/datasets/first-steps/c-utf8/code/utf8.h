#ifndef UTF8_H
#define UTF8_H

#include <stddef.h>

/* How many characters there are in so many bytes; -1 if these are not UTF-8. */
long utf8_length(const unsigned char *text, size_t bytes);

#endif
