import unittest

from intervals import free, merge


class Merge(unittest.TestCase):
    def test_order_does_not_matter(self):
        self.assertEqual(merge([(9, 10), (8, 12)]), [(8, 12)])
        self.assertEqual(merge([(5, 6), (1, 2)]), [(1, 2), (5, 6)])

    def test_touching_times_are_one(self):
        self.assertEqual(merge([(1, 2), (2, 3)]), [(1, 3)])

    def test_a_time_inside_another_shortens_nothing(self):
        self.assertEqual(merge([(1, 10), (2, 3), (4, 5)]), [(1, 10)])

    def test_the_argument_stays_as_it_was(self):
        times = [(5, 6), (1, 2)]
        merge(times)
        self.assertEqual(times, [(5, 6), (1, 2)])

    def test_overlapping_times_are_one(self):
        self.assertEqual(merge([(1, 3), (2, 4)]), [(1, 4)])

    def test_nothing_is_nothing(self):
        self.assertEqual(merge([]), [])

    def test_a_time_that_ends_before_it_begins_is_refused(self):
        with self.assertRaises(ValueError):
            merge([(3, 2)])

    def test_free_time_is_between(self):
        self.assertEqual(free([(2, 3)], 1, 4), [(1, 2), (3, 4)])
