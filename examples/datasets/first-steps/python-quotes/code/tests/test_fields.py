import unittest

from fields import join, split


class Fields(unittest.TestCase):
    def test_plain_fields(self):
        self.assertEqual(split("a,b,,c"), ["a", "b", "", "c"])

    def test_commas_in_quotes(self):
        self.assertEqual(split('"a,b",c'), ["a,b", "c"])
        self.assertEqual(join(["a,b", "c"]), '"a,b",c')


if __name__ == "__main__":
    unittest.main()
