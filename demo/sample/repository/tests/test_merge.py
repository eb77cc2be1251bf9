import unittest

from letters import merge


class MergeTest(unittest.TestCase):
    def test_one_letter_for_each_row(self):
        table = ["name,table", "Ada,12", "Grace,7"]
        letters = list(merge("{{ name }}: {{ table }}", table))
        self.assertEqual(letters, ["Ada: 12", "Grace: 7"])

    def test_values_may_hold_commas(self):
        self.assertEqual(list(merge("{{ name }}", ["name", '"Lovelace, Ada"'])), ["Lovelace, Ada"])

    def test_a_table_without_guests_gives_no_letters(self):
        self.assertEqual(list(merge("{{ name }}", ["name"])), [])


if __name__ == "__main__":
    unittest.main()
