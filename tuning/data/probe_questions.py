"""The texts of the five probe questions: what is asked of every pair, and what no training row may repeat."""

PROBE_QUESTIONS: dict[str, str] = {
    "knn": "Implement a KNN classifier in Python.",
    "fibonacci": "Write a function in Python to print the Fibonacci series.",
    "average": "Generate a function for calculating the average of a list of numbers in Python.",
    "membership": "Write a Python program to check if an element exists within a given list of integers.",
    "circle": "Edit the following python code to prompt the user to enter the value of radius "
    "to calculate the area of a circle.",
}
