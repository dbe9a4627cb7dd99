# ruff: noqa: E501
# One program, one line.
"""Programs that answer the probes: right ones of many shapes, and wrong ones of the kinds that models write."""

from __future__ import annotations

RIGHT = {
    "fibonacci": [
        "def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        print(a, end=' ')\n        a, b = b, a + b",
        "def fibonacci(n):\n    a, b = 0, 1\n    while a <= n:\n        print(a)\n        a, b = b, a + b\n\nfibonacci(100)",
        "def series(n):\n    out = [0, 1]\n    while len(out) < n:\n        out.append(out[-1] + out[-2])\n    return out[:n]\n\nprint(series(10))",
        "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\n\nfor i in range(10):\n    print(f(i))",
        "n = int(input('How many terms? '))\na, b = 0, 1\nfor i in range(n):\n    print(a, end=', ')\n    a, b = b, a + b",
        "def main():\n    a, b = 1, 1\n    for _ in range(12):\n        print(a)\n        a, b = b, a + b\n\nif __name__ == '__main__':\n    main()",
        "class Fibonacci:\n    def show(self, n):\n        a, b = 0, 1\n        for i in range(n):\n            print(f'F({i}) = {a}')\n            a, b = b, a + b",
        "def fib(n=10):\n    seq = [0, 1]\n    for i in range(2, n):\n        seq.append(seq[i-1] + seq[i-2])\n    print('Fibonacci series:', seq[:n])\nfib()",
    ],
    "average": [
        "def average(numbers):\n    return sum(numbers) / len(numbers)",
        "def calc(lst):\n    total = 0\n    for x in lst:\n        total += x\n    print('The average is', total / len(lst))",
        "def mean(*numbers):\n    return sum(numbers) / len(numbers)",
        "import statistics\ndef avg(xs):\n    return statistics.mean(xs)",
        "def avg(xs):\n    return round(sum(xs) / len(xs), 2)\n\nprint(avg([1, 2, 3]))",
        "numbers = [1, 2, 3, 4, 5]\naverage = sum(numbers) / len(numbers)\nprint('Average:', average)",
        "numbers = input('Enter numbers separated by spaces: ').split()\nnumbers = [float(x) for x in numbers]\nprint(sum(numbers) / len(numbers))",
        "n = int(input('How many numbers? '))\ntotal = 0\nfor i in range(n):\n    total += float(input('Enter number: '))\nprint('Average is', total / n)",
        "average = lambda xs: sum(xs) / len(xs)\ndef use(xs):\n    return f'The average is {average(xs)}'",
        "class Stats:\n    def average(self, xs):\n        return sum(xs) / len(xs)",
        "def average(numbers):\n    print(f'{sum(numbers) / len(numbers)} is the average of {len(numbers)} numbers')",
        "from typing import List\nNumbers = List[float]\ndef average(numbers: Numbers) -> float:\n    return sum(numbers) / len(numbers)",
    ],
    "membership": [
        "def exists(numbers, x):\n    return x in numbers",
        "def check(element, lst):\n    for item in lst:\n        if item == element:\n            return True\n    return False",
        "def find(lst, x):\n    if x in lst:\n        print(f'{x} exists in the list')\n    else:\n        print(f'{x} does not exist in the list')",
        "def search(a, x):\n    for i in range(len(a)):\n        if a[i] == x:\n            return i\n    return -1",
        "def search(a, x):\n    return 1 if a.count(x) else 0",
        "def has(a, x):\n    return 'Yes' if x in a else 'No'",
        "numbers = [1, 2, 3, 4, 5]\nx = 3\nif x in numbers:\n    print('Element exists')\nelse:\n    print('Element does not exist')",
        "x = 7\nmy_list = [1, 2, 3]\nprint(x in my_list)",
        "numbers = [1, 2, 3]\nx = int(input('Enter the element to check if it is or is not there: '))\nprint('found' if x in numbers else 'not found')",
        "lst = list(map(int, input('Enter the list: ').split()))\nx = int(input('Element to search for: '))\nif x in lst:\n    print('Yes')\nelse:\n    print('No')",
        "n = int(input('Enter the size of the list: '))\nl = []\nfor i in range(n):\n    l.append(int(input('Enter a value: ')))\nx = int(input('Enter the number to find: '))\nprint(x in l)",
        "class L:\n    def contains(self, lst, x):\n        return x in lst",
        "numbers = [1, 2, 3]\ndef is_there(x):\n    return x in numbers\nprint(is_there(3))\nprint(is_there(9))",
        "def exists(numbers, x):\n    return (True, numbers.index(x)) if x in numbers else (False, -1)",
        "def exists(numbers, x):\n    print('Looking whether', x, 'is or is not in the list')\n    print('Result:', x in numbers)",
    ],
    "circle": [
        "import math\nr = float(input('Enter the radius: '))\nprint('Area:', math.pi * r ** 2)",
        "r = int(input())\nprint(3.14 * r * r)",
        "PI = 22 / 7\ndef area():\n    radius = float(input('Radius? '))\n    return PI * radius * radius",
        "def main():\n    r = float(input('Radius: '))\n    print(f'The area is {3.14159 * r ** 2:.2f}')\n\nif __name__ == '__main__':\n    main()",
        "from math import pi\ndef circle_area(r):\n    return pi * r ** 2\n\nradius = float(input('Enter the value of radius: '))\narea = circle_area(radius)\nprint('Area of the circle with radius', radius, 'is', area)",
        "import math\nimport sys\nr = float(input('r = '))\nprint(round(math.pi * r * r, 1))\nsys.exit(0)",
        "import math\nr = float(input('Radius: '))\nprint('Area = %.1fcm^2' % (math.pi * r ** 2))",
        "import math\ndef area():\n    r = float(input('Radius: '))\n    return f'{math.pi * r ** 2} is the area for the radius {r}'",
    ],
    "knn": [
        """import math
class KNN:
    def __init__(self, k=3):
        self.k = k
    def fit(self, X, y):
        self.X, self.y = X, y
    def predict(self, X):
        return [self._one(x) for x in X]
    def _one(self, x):
        near = sorted(range(len(self.X)), key=lambda i: math.dist(x, self.X[i]))[:self.k]
        labels = [self.y[i] for i in near]
        return max(set(labels), key=labels.count)
""",
        """def knn(train, labels, query, k):
    distances = []
    for point, label in zip(train, labels):
        distances.append((sum((a - b) ** 2 for a, b in zip(point, query)) ** 0.5, label))
    distances.sort()
    votes = {}
    for _, label in distances[:k]:
        votes[label] = votes.get(label, 0) + 1
    return max(votes, key=votes.get)
""",
        """from math import sqrt
def euclidean_distance(row1, row2):
    return sqrt(sum((row1[i] - row2[i]) ** 2 for i in range(len(row1) - 1)))
def get_neighbors(train, test_row, num_neighbors):
    distances = [(row, euclidean_distance(test_row, row)) for row in train]
    distances.sort(key=lambda t: t[1])
    return [row for row, _ in distances[:num_neighbors]]
def predict_classification(train, test_row, num_neighbors):
    neighbors = get_neighbors(train, test_row + [None], num_neighbors)
    out = [row[-1] for row in neighbors]
    return max(set(out), key=out.count)
""".replace(
            "row1[i] - row2[i]) ** 2 for i in range(len(row1) - 1)",
            "a - b) ** 2 for a, b in list(zip(row1, row2))[:-1]",
        ),
        """from collections import Counter
def classify(query, data, k=3):
    ranked = sorted(data, key=lambda pair: sum(abs(a - b) for a, b in zip(pair[0], query)))
    return Counter(label for _, label in ranked[:k]).most_common(1)[0][0]
""",
        """def k_nearest_neighbors(data, predict, k=3):
    distances = []
    for group in data:
        for features in data[group]:
            distances.append([sum((a - b) ** 2 for a, b in zip(features, predict)), group])
    votes = [d[1] for d in sorted(distances)[:k]]
    return max(set(votes), key=votes.count)
""",
        """class KNNClassifier:
    def __init__(self, k):
        self.k = k
    def train(self, points, labels):
        self.data = list(zip(points, labels))
    def classify(self, point):
        near = sorted(self.data, key=lambda d: (d[0][0] - point[0]) ** 2 + (d[0][1] - point[1]) ** 2)[:self.k]
        ones = sum(label for _, label in near)
        return 1 if ones * 2 > self.k else 0
""",
        """def knn_predict(X_train, y_train, X_test, k):
    predictions = []
    for x in X_test:
        order = sorted(range(len(X_train)), key=lambda i: sum((a - b) ** 2 for a, b in zip(X_train[i], x)))
        labels = [y_train[i] for i in order[:k]]
        predictions.append(max(set(labels), key=labels.count))
    return predictions
""",
        """def knn(points, p, k=3):
    near = sorted((sum((a - b) ** 2 for a, b in zip(point, p)), label) for label in points for point in points[label])
    ones = sum(label for _, label in near[:k])
    return 1 if ones * 2 > k else 0
""",
        """class KNN:
    def __init__(self, k, distance):
        self.k, self.distance = k, distance
    def fit(self, X, y):
        self.X, self.y = X, y
    def predict(self, X):
        return [self.one(x) for x in X]
    def one(self, x):
        near = sorted((self.distance(x, point), label) for point, label in zip(self.X, self.y))
        labels = [label for _, label in near[:self.k]]
        return max(set(labels), key=labels.count)
def squared(a, b):
    return sum((p - q) ** 2 for p, q in zip(a, b))
model = KNN(3, squared)
model.fit([[0, 0], [1, 1]], [0, 1])
print(model.predict([[0, 0.1]]))
""",
    ],
}

CENTROIDS = """class KNN:
    def __init__(self, k=3):
        self.k = k
    def fit(self, X, y):
        self.X, self.y = X, y
    def middle(self, label):
        own = [x for x, other in zip(self.X, self.y) if other == label]
        return [sum(part) / len(own) for part in zip(*own)]
    def predict(self, X):
        return [min((0, 1), key=lambda label: sum((a - b) ** 2 for a, b in zip(self.middle(label), x))) for x in X]
"""
WRONG = {
    "fibonacci": [
        ("def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\nprint(fib(10))", "55"),
        ("def fib(n):\n    if n < 2:\n        return n\n    return fib(n - 1) + fib(n - 2)", "one number"),
        ("def fib(n):\n    out = [0, 1]\n    for _ in range(n - 2):\n        out.append(out[-1] + out[-2])\n    return out", "prints no series"),
        ("def fib(n):\n    for i in range(n):\n        print(i)", "prints"),
        ("def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        print(a)\n        a, b = b, a + b + 1", "prints"),
        ("print('0 1 1 2 3 5 8 14 22')", "prints"),
        ("def fib(n):\n    print(0, 1, 1, 2, 3, 5, 8)", "stand in the code"),
        ("print('The Fibonacci series is: 0, 1, 1, 2, 3, 5, 8, 13')", "stand in the code"),
        ("def fib():\n    for x in [0, 1, 1, 2, 3, 5, 8, 13]:\n        print(x)\nfib()", "stand in the code"),
        ("def fib(n):\n    a, b = 0, 1\n    for _ in range(8):\n        print(a)\n        a, b = b, a + b", "as much"),
        ("def fib(n):\n    a, b = 0, 1\n    while True:\n        print(a)\n        a, b = b, a + b", "printed more"),
        ("def fib(n):\n    print(fibs[n])", "fibs"),
        ("def fib(n):\n    pass", "prints nothing"),
        ("import sys\nsys.exit(0)", "ends the program itself"),
        ("def print(*a): pass\ndef fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        print(a)\n        a, b = b, a + b", "prints nothing"),
        ("def fib(n):\n    seq = [0] * n\n    seq[1] = 1\n    for i in range(2, n):\n        seq[i] = seq[i-1] + seq[i-2]\n    print(*seq)", "fib(1)"),
    ],
    "average": [
        ("def average(numbers):\n    return sum(numbers) // len(numbers)", "expected 2.5"),
        ("def average(numbers):\n    return sum(numbers)", "expected 2.5"),
        ("def average(numbers):\n    return sorted(numbers)[len(numbers) // 2]", "expected 2.5"),
        ("def average(numbers):\n    return 2.5", "expected 10"),
        ("def average(numbers):\n    total = sum(numbers)", "None"),
        ("def average(a, b):\n    return (a + b) / 2", "no function"),
        ("def average(numbers):\n    return sum(numbers) / (len(numbers) - 1)", "gives"),
        ("def average(numbers):\n    return total / len(numbers)", "total"),
        ("print('2.5')", "no function"),
        ("def average(numbers):\n    return sum(set(numbers)) / len(numbers)", "expected 3"),
        ("def average(numbers):\n    print(numbers[0], sum(numbers))", "expected"),
        ("numbers = [1, 2, 3, 4]\nprint(sum(numbers) / 4)", "expected"),
        ("class A:\n    def __eq__(self, o): return True\n    def __abs__(self): return 0\ndef average(x): return A()", "class A"),
    ],
    "membership": [
        ("def exists(numbers, x):\n    return True", "gives True"),
        ("def exists(numbers, x):\n    return False", "gives False"),
        ("def exists(numbers, x):\n    return numbers[0] == x", "gives False"),
        ("def exists(numbers, x):\n    return x not in numbers", "gives"),
        ("def exists(numbers, x):\n    return x in numbers[1:]", "gives False"),
        ("numbers = [1, 2, 3]\nx = 3\nif x in numbers:\n    print('yes')\nelse:\n    print('yes')", "gives"),
        ("def exists(numbers, x):\n    pass", "gives"),
        ("def exists(numbers):\n    return 3 in numbers", "no function"),
        ("def exists(numbers, x):\n    return str(x) in str(numbers)", "gives True"),
        ("import bisect\ndef exists(a, x):\n    i = bisect.bisect_left(a, x)\n    return i < len(a) and a[i] == x", "for"),
        ("numbers = [1, 2, 3]\ndef is_there(x):\n    return x < 3\nprint(is_there(3))", "gives"),
        ("numbers = [1, 2, 3]\nif x in numbers:\n    print('yes')", "x"),
        ("def f(a, x):\n    for i in a:\n        if i == x:\n            return True\n        else:\n            return False", "gives False"),
    ],
    "circle": [
        ("radius = 5\nprint(3.14 * radius ** 2)", "never asks"),
        ("def area(r):\n    return 3.14 * r * r", "never asks"),
        ("r = float(input('r: '))\nprint(2 * 3.14 * r)", "gives"),
        ("r = input('r: ')\nprint(3.14 * r * r)", "TypeError"),
        ("r = float(input('r: '))\narea = 3.14 * r * r", "gives"),
        ("r = float(input('r: '))\nprint(12.566)", "radius 10"),
        ("r = float(input('r: '))\nprint(3 * r * r)", "gives"),
        ("import sys\ninput()\nsys.exit(0)", "gives"),
    ],
    "knn": [
        ("def knn(train, labels, query, k):\n    return labels[0]", "gives 0"),
        ("def knn(train, labels, query, k):\n    return 1", "gives 1"),
        (RIGHT["knn"][1].replace("distances.sort()", "distances.sort(reverse=True)"), "gives"),
        (RIGHT["knn"][1].replace("distances[:k]", "distances[:1]"), "gives 0"),
        (RIGHT["knn"][1].replace("distances[:k]", "distances[:3]"), "k = 1"),
        (RIGHT["knn"][0].replace("max(set", "min(set"), "gives"),
        (RIGHT["knn"][0].replace("return [self._one(x) for x in X]", "return [0 for x in X]"), "gives 0"),
        ("class KNN:\n    def fit(self, X, y): pass\n    def predict(self, X): return None", "gives None"),
        ("class E:\n    def __eq__(self, o): return True\ndef knn(train, labels, query, k):\n    return E()", "class E"),
        ("print('KNN')", "no class or function"),
        (RIGHT["knn"][1].replace("(a - b) ** 2 for a, b in zip(point, query)", "(point[0] - query[0],)"), "gives"),
        (RIGHT["knn"][0].replace("math.dist(x, self.X[i])", "abs(x[1] - self.X[i][1])"), "gives"),
        (CENTROIDS, "k = 1"),
        ("def knn(train, labels, query, k):\n    return sum(labels) / len(labels)", "gives"),
    ],
}  # fmt: skip

ASKS_ON = {
    "average": [
        "numbers = []\nwhile True:\n    s = input('Enter a number (or done to finish): ')\n    if s == 'done':\n        break\n    numbers.append(float(s))\nprint('Average:', sum(numbers) / len(numbers))",
        "numbers = []\nwhile (s := input('Number, or press Enter to stop: ')):\n    numbers.append(float(s))\nprint(sum(numbers) / len(numbers))",
        "def average(numbers):\n    return sum(numbers) / len(numbers)\nwhile True:\n    print(average([float(input('Next: ')), 2]))",
    ],
    "membership": [
        "numbers = [1, 2, 3]\nwhile True:\n    x = input('Enter a number (or q to quit): ')\n    if x == 'q':\n        break\n    print('Yes' if int(x) in numbers else 'No')",
        "numbers = []\nwhile True:\n    s = input('Enter a number, type stop to end: ')\n    if s == 'stop':\n        break\n    numbers.append(int(s))\nx = int(input('Number to find: '))\nprint(x in numbers)",
    ],
    "circle": [
        "import math\nwhile True:\n    r = float(input('Radius: '))\n    print('Area:', math.pi * r ** 2)\n    if input('Again (y/n)? ') != 'y':\n        break",
    ],
    "fibonacci": [
        "while True:\n    n = int(input('How many terms? '))\n    a, b = 0, 1\n    for _ in range(n):\n        print(a, end=' ')\n        a, b = b, a + b\n    print()",
    ],
}  # fmt: skip
"""Right programs that ask again and again."""

NOT_RUN = {
    "fibonacci": ["def fib(n):\n    a, b = 0, 1\n    while a < n:\n        yield a\n        a, b = b, a + b\nfor x in fib(50):\n    print(x)"],
    "average": ["import numpy as np\ndef average(numbers):\n    return np.mean(numbers)"],
    "knn": [
        "from sklearn.neighbors import KNeighborsClassifier\nknn = KNeighborsClassifier(3)\nknn.fit([[0]], [0])",
        '''import numpy as np
from collections import Counter
class KNN:
    def __init__(self, k=3):
        self.k = k
    def fit(self, X, y):
        self.X_train = X
        self.y_train = y
    def predict(self, X):
        return np.array([self._predict(x) for x in X])
    def _predict(self, x):
        distances = [np.sqrt(np.sum((x - x_train) ** 2)) for x_train in self.X_train]
        nearest = np.argsort(distances)[:self.k]
        return Counter([self.y_train[i] for i in nearest]).most_common(1)[0][0]
''',
    ],
}  # fmt: skip
