#include "../utf8.h"

#include <assert.h>
#include <string.h>

int main(void)
{
    assert(utf8_length((const unsigned char *)"abc", 3) == 3);
    assert(utf8_length((const unsigned char *)"\xc3\xa9", 2) == 1);
    assert(utf8_length((const unsigned char *)"\xff", 1) == -1);
    return 0;
}
