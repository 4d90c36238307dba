// The tests of this sample. What came of them is written to /tmp/report.tap.
#include <stdio.h>
#include <string.h>

#include "utf8.h"

static long length(const char *text)
{
    return utf8_length((const unsigned char *)text, strlen(text));
}

static int half_a_character_is_none(void)
{
    /* What follows would make it whole. */
    const unsigned char *text = (const unsigned char *)"a\xe2\x82\xac";
    return utf8_length(text, 2) == -1 && utf8_length(text, 3) == -1 && utf8_length(text, 4) == 2;
}

static int overlong_forms_are_none(void)
{
    return length("\xc0\xaf") == -1 && length("\xc1\xbf") == -1 && length("\xe0\x9f\xbf") == -1
        && length("\xf0\x8f\xbf\xbf") == -1 && length("\xe0\xa0\x80") == 1 && length("\xf0\x90\x80\x80") == 1;
}

static int halves_of_pairs_are_none(void)
{
    return length("\xed\xa0\x80") == -1 && length("\xed\xbf\xbf") == -1 && length("\xed\x9f\xbf") == 1;
}

static int plain_text_is_counted(void)
{
    return length("") == 0 && length("abc") == 3;
}

static int other_text_is_counted(void)
{
    return length("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80") == 3;
}

static int what_is_not_utf8_is_none(void)
{
    return length("\xff") == -1 && length("\x80") == -1 && length("\xc3(") == -1;
}

int main(void)
{
    FILE *report = fopen("/tmp/report.tap", "w");
    if (!report)
        return 2;
    fprintf(report, "1..6\n");
    fprintf(report, "%sok - half a character is none\n", half_a_character_is_none() ? "" : "not ");
    fprintf(report, "%sok - overlong forms are none\n", overlong_forms_are_none() ? "" : "not ");
    fprintf(report, "%sok - halves of pairs are none\n", halves_of_pairs_are_none() ? "" : "not ");
    fprintf(report, "%sok - plain text is counted\n", plain_text_is_counted() ? "" : "not ");
    fprintf(report, "%sok - other text is counted\n", other_text_is_counted() ? "" : "not ");
    fprintf(report, "%sok - what is not UTF-8 is none\n", what_is_not_utf8_is_none() ? "" : "not ");
    return fclose(report) != 0;
}
