import unittest

import greet


class Greets(unittest.TestCase):
    def test_greets(self):
        self.assertEqual(greet.greet("you"), "hello, you")
