"""Names that do not exist are found without running anything, and names that do are left alone."""

from __future__ import annotations

import ast

import pytest

from eval_prompts.judging.known_libraries import has_public_name, module_exists
from eval_prompts.judging.undefined_names import missing_names


def missing(source):
    return [item.name for item in missing_names(source, ast.parse(source))]


KNN = "from sklearn.neighbors import KNeighborsClassifier\nknn = KNeighborsClassifier(n_neighbors=3)\n"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (KNN + "knn.fit([[1]], [1])\nknn.predict_label([[1]])", ["knn.predict_label"]),
        ("import sklearn.neighbors as n\nmodel = n.KNeighborsClassifier()\nmodel.train([])", ["model.train"]),
        (
            "from sklearn import neighbors\nneighbors.KNeighborsClassifier(3).classify([1])",
            ["sklearn.neighbors.KNeighborsClassifier.classify"],
        ),
        ("class K:\n    def go(self):\n        return self.nearest()", ["self.nearest"]),
        ("from sklearn.neighbours import KNeighborsClassifier", ["sklearn.neighbours"]),
        ("from sklearn.neighbors import KNN", ["sklearn.neighbors.KNN"]),
        ("import numpy as np\nnp.euclidean([1], [2])", ["np.euclidean"]),
        ("import numpy as np\nnp.linalg.distance(1)", ["np.linalg.distance"]),
        ("import math\nmath.square(2)", ["math.square"]),
        ("from math import square", ["math.square"]),
        ("from collections import Counter\nCounter([1]).most_frequent()", []),
        ("numbers = [1]\nnumbers.push(2)", ["numbers.push"]),
        ("'abc'.reversed()", ["str.reversed"]),
        ("class A:\n    def f(self): return 1\na = A()\na.g()", ["a.g"]),
        ("print(total)", ["total"]),
        ("def f():\n    return helper(1)", ["helper"]),
        ("name = raw_input('Who? ')", ["raw_input"]),
        ("import urllib2", ["urllib2"]),
    ],
)  # fmt: skip
def test_found(source, names):
    assert missing(source) == names


@pytest.mark.parametrize(
    "source",
    [
        KNN + "knn.fit([[1]], [1])\nprint(knn.predict([[1]]), knn.classes_, knn.n_neighbors)",
        "import numpy as np\nx = np.array([1])\nnp.linalg.norm(x)\nx.anything()",
        "import requests\nrequests.get('x').json()",
        "from mystery import *\nprint(whatever)",
        "import os.path\nos.path.join('a', 'b')\nos.getcwd()",
        "import xml.etree.ElementTree as ET\nET.parse('x')",
        "def f(x):\n    x.anything()\nx = []\n",
        "x = []\nx = open('f')\nx.read()",
        "for x in [[1]]:\n    x.append(2)",
        "class A:\n    def __getattr__(self, name): return 1\nA().anything\na = A()\na.more",
        "class A(dict):\n    def f(self): return self.g()",
        "class A:\n    def f(self): return self.x\na = A()\na.x = 1",
        "class A:\n    def __init__(self, k):\n        setattr(self, k, 1)\n    def f(self): return self.z",
        "try:\n    1\nexcept ValueError as error:\n    print(error)",
        "def f():\n    global g\n    g = 1\nf()\nprint(g)",
        "print([y for y in range(3)], (lambda z: z)(1), __name__, __file__)",
        "def outer():\n    n = 0\n    def inner():\n        nonlocal n\n        n += 1\n    inner()",
        "import math as m\nm = [1]\nm.append(2)",
        "with open('f') as file:\n    file.read()",
        "match 3:\n    case n:\n        print(n)",
        "class A:\n    size = 3\n    def f(self): return self.size + self.__class__.size",
        "if (n := 3) > 2: print(n)",
        "def f(a, *rest, key=None, **more): return a, rest, key, more",
    ],
)
def test_left_alone(source):
    assert missing(source) == []


def test_the_reason_is_in_words():
    source = KNN + "knn.predict_label(1)"
    found = missing_names(source, ast.parse(source))
    assert (found[0].line, found[0].reason) == (3, "sklearn.neighbors.KNeighborsClassifier has no predict_label")


@pytest.mark.parametrize(
    ("module", "exists"),
    [("math", True), ("os.path", True), ("sklearn.neighbors", True), ("sklearn.nearest", False), ("antigravity", True),
     ("requests", None), ("xml.etree.ElementTree", None), ("Queue", False), ("numpy.linalg", True)],
)  # fmt: skip
def test_modules(module, exists):
    assert module_exists(module) is exists


def test_modules_with_side_effects_are_not_imported():
    import sys

    source = "import antigravity, turtle\nfrom idlelib import run\nantigravity.fly()\nturtle.forward(1)"
    assert missing(source) == []
    assert "antigravity" not in sys.modules
    assert has_public_name("antigravity", "fly") is None


@pytest.mark.parametrize(
    "source",
    [
        "class Stack:\n    def top(self):\n        return self.items\n    def __init__(self):\n        self.items = []",
        "def top(self, *rest, key=None, **others):\n    size = 1\n    return self, rest, key, others, size",
        "class Shape:\n    def show(self): return self.area()\nclass Square(Shape):\n    def area(self): return 4",
        "class A:\n    def f(self):\n        return self.g()\nclass B(A): pass\nclass C(B):\n    def g(self): return 1",
        "class R:\n    def __init__(self, **g): self.__dict__.update(g)\n    def show(self): return self.name",
        "import os\nos.startfile('a.txt')",
        "import subprocess\nsubprocess.STARTUPINFO()",
        "import itertools\nprint(itertools.batched([1], 1))",
        "from typing import override, ReadOnly",
        "from copy import replace",
        "import heapq\nheapq.heapify_max([1])",
        "import logging.handlers\nlogging.handlers.RotatingFileHandler",
        "import logging\nlogging.handlers",
        "from unittest import mock",
        "try:\n    input = raw_input\nexcept NameError:\n    pass",
        "try:\n    from os import scandir_fast\nexcept ImportError:\n    scandir_fast = None",
        "import os\nif hasattr(os, 'nothing'):\n    os.nothing()",
        "import sys\nif sys.version_info[0] < 3:\n    text = unicode('a')",
        "exec('a = 1')\nprint(a)",
        "globals()['a'] = 1\nprint(a)",
        "raise PythonFinalizationError",
    ],
)
def test_names_that_exist_somewhere_are_not_called_missing(source):
    assert missing_names(source, ast.parse(source)) == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def top(a):\n    return a + b", "b"),
        ("class A:\n    def f(self):\n        return self.g()", "self.g"),
        ("import os\nos.starfile('a')", "os.starfile"),
        ("import itertools\nitertools.batch([1], 1)", "itertools.batch"),
        ("from logging import handler", "logging.handler"),
        ("try:\n    print(nothing)\nexcept ValueError:\n    pass", "nothing"),
    ],
)
def test_names_that_exist_nowhere_still_are(source, name):
    assert [item.name for item in missing_names(source, ast.parse(source))] == [name]


def test_what_is_asked_of_a_module_is_not_kept():
    """Answers name what they like: nothing may grow with what was asked."""
    assert not hasattr(has_public_name, "cache_info")
    assert not hasattr(module_exists, "cache_info")
