// The tests of this sample. What came of them is written to /tmp/report.tap.
#include <stdio.h>
#include <string.h>

#include "ring.h"

static int all_places_are_usable(void)
{
    struct ring ring = {0};
    for (int i = 0; i < RING_SIZE; i++)
        if (!ring_put(&ring, i))
            return 0;
    return ring_length(&ring) == RING_SIZE && ring_take(&ring) == 0 && ring_length(&ring) == RING_SIZE - 1;
}

static int a_full_ring_takes_nothing(void)
{
    struct ring ring = {0};
    for (int i = 0; i < RING_SIZE; i++)
        ring_put(&ring, i);
    return !ring_put(&ring, 99) && ring_take(&ring) == 0;
}

static int order_is_kept(void)
{
    struct ring ring = {0};
    for (int i = 0; i < 100; i++)
        if (!ring_put(&ring, i) || !ring_put(&ring, i + 100) || ring_take(&ring) != i || ring_take(&ring) != i + 100)
            return 0;
    return 1;
}

static int an_empty_ring_has_nothing(void)
{
    struct ring ring = {0};
    return ring_length(&ring) == 0 && ring_take(&ring) == -1;
}

int main(void)
{
    FILE *report = fopen("/tmp/report.tap", "w");
    if (!report)
        return 2;
    fprintf(report, "1..4\n");
    fprintf(report, "%sok - all places are usable\n", all_places_are_usable() ? "" : "not ");
    fprintf(report, "%sok - a full ring takes nothing\n", a_full_ring_takes_nothing() ? "" : "not ");
    fprintf(report, "%sok - order is kept\n", order_is_kept() ? "" : "not ");
    fprintf(report, "%sok - an empty ring has nothing\n", an_empty_ring_has_nothing() ? "" : "not ");
    return fclose(report) != 0;
}
