import unittest

from intervals import merge


class Merge(unittest.TestCase):
    def test_overlapping_times_are_one(self):
        self.assertEqual(merge([(1, 3), (2, 4)]), [(1, 4)])

    def test_others_stay(self):
        self.assertEqual(merge([(1, 2), (5, 6)]), [(1, 2), (5, 6)])


if __name__ == "__main__":
    unittest.main()
