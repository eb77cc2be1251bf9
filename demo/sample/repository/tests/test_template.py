import unittest

from letters import MissingValueError, fill, placeholders


class PlaceholdersTest(unittest.TestCase):
    def test_names_in_order_of_appearance(self):
        self.assertEqual(placeholders("{{ b }} {{ a }} {{ b }}"), ["b", "a"])

    def test_other_braces_are_no_placeholders(self):
        self.assertEqual(placeholders("{{name}} { name } {{ two words }}"), [])


class FillTest(unittest.TestCase):
    def test_every_placeholder_is_filled(self):
        letter = fill("Dear {{ name }}, table {{ table }}.", {"name": "Ada", "table": "12"})
        self.assertEqual(letter, "Dear Ada, table 12.")

    def test_a_placeholder_may_appear_twice(self):
        self.assertEqual(fill("{{ name }}! {{ name }}!", {"name": "Ada"}), "Ada! Ada!")

    def test_values_without_a_placeholder_are_ignored(self):
        self.assertEqual(fill("Dear {{ name }}!", {"name": "Ada", "diet": "vegan"}), "Dear Ada!")

    def test_a_missing_value_is_an_error_that_names_it(self):
        with self.assertRaises(MissingValueError) as caught:
            fill("{{ name }} {{ table }} {{ time }}", {"name": "Ada"})
        self.assertEqual(caught.exception.names, ["table", "time"])


if __name__ == "__main__":
    unittest.main()
