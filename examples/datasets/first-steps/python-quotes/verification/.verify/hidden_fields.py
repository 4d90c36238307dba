import unittest

from fields import join, split


class Fields(unittest.TestCase):
    def test_two_quotes_stand_for_one(self):
        self.assertEqual(split('1,"she said ""hi""",2'), ["1", 'she said "hi"', "2"])
        self.assertEqual(split('""""'), ['"'])

    def test_what_was_joined_is_split_again(self):
        for fields in (['"'], ['a"b', "c"], [",", '","'], ["", '""']):
            self.assertEqual(split(join(fields)), fields)

    def test_an_empty_quoted_field_is_empty(self):
        self.assertEqual(split('"",a,""'), ["", "a", ""])

    def test_plain_fields(self):
        self.assertEqual(split("a,b,,c"), ["a", "b", "", "c"])

    def test_commas_in_quotes(self):
        self.assertEqual(split('"a,b",c'), ["a,b", "c"])

    def test_an_open_quote_is_refused(self):
        for line in ('"a', 'a,"', '"a""'):
            with self.assertRaises(ValueError):
                split(line)
