#include "../ring.h"

#include <assert.h>

int main(void)
{
    struct ring ring = {0};
    assert(ring_take(&ring) == -1);
    assert(ring_put(&ring, 'a') && ring_put(&ring, 'b'));
    assert(ring_length(&ring) == 2 && ring_take(&ring) == 'a' && ring_take(&ring) == 'b');
    return 0;
}
