#include "utf8.h"

long utf8_length(const unsigned char *text, size_t bytes)
{
    long length = 0;
    size_t at = 0;
    while (at < bytes) {
        unsigned char first = text[at];
        size_t more;
        if (first < 0x80)
            more = 0;
        else if (first >= 0xc0 && first < 0xe0)
            more = 1;
        else if (first >= 0xe0 && first < 0xf0)
            more = 2;
        else if (first >= 0xf0 && first < 0xf5)
            more = 3;
        else
            return -1;
        for (size_t next = 1; next <= more; next++)
            if ((text[at + next] & 0xc0) != 0x80)
                return -1;
        at += 1 + more;
        length++;
    }
    return length;
}
