# ruff: noqa: E501
# One attack, one line.
"""Snippets that attack whoever runs them. Each is a whole program; none may reach anything outside its sandbox."""

from __future__ import annotations

CONTAINED = {
    "fork bomb": "import os\nwhile True:\n    os.fork()",
    "fork bomb that ignores refusals": "import os\nfor _ in range(1000):\n    try:\n        os.fork()\n    except OSError: pass",
    "processes": "import subprocess\nsubprocess.run(['/bin/echo', 'out'])",
    "shell": "import os\nos.system('echo out')",
    "10 GB in one piece": "x = 'a' * (10 * 2**30)",
    "10 GB in small pieces": "x = []\nwhile True:\n    x.append('a' * 100_000)",
    "infinite loop": "while True:\n    pass",
    "infinite output": "while True:\n    print('x' * 1000)",
    "output without line ends": "while True:\n    print('x' * 1000, end='')",
    "reads the password file": "print(open('/etc/passwd').read())",
    "reads it by pathlib": "import pathlib\nprint(pathlib.Path('/etc/passwd').read_text())",
    "connects": "import socket\nsocket.create_connection(('127.0.0.1', 80), timeout=1)",
    "fetches": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:80', timeout=1)",
    "writes to the root": "open('/owned', 'w').write('x')",
    "writes beside the interpreter": "import sys\nopen(sys.prefix + '/owned', 'w').write('x')",
    "recursion": "def f(n):\n    return f(n + 1)\nf(0)",
    "huge power": "x = 10 ** (10 ** 9)",
    "huge product": "x = 3\nwhile True:\n    x = x * x",
    "huge factorial": "import math\nmath.factorial(10 ** 8)",
    "regex blow-up": "import re\nprint(re.match(r'(a|a)*\\1?$', 'a' * 64 + 'b').end())",
    "pickle bomb": (
        "import pickle, os\nclass Bomb:\n    def __reduce__(self):\n        return (os.system, ('echo out > /owned',))\n"
        "pickle.loads(pickle.dumps(Bomb()))\nopen('/owned').read()"
    ),
    "signals the parent": "import os\nos.kill(os.getppid(), 9)\nos.kill(-1, 9)",
    "signals its group": "import os\nos.killpg(0, 9)",
    "walks the subclasses to a shell": (
        "for c in ().__class__.__base__.__subclasses__():\n"
        "    if c.__name__ == 'Popen' or c.__name__ == '_wrap_close':\n"
        "        c.__init__.__globals__['system']('echo out')\n"
        "raise LookupError('found no way out')"
    ),
    "sleeps for an hour": "import time\ntime.sleep(3600)\nwhile True: pass",
    "asks without end": "while True:\n    try:\n        input()\n    except Exception: pass",
}

ENVIRONMENT = "import os\nprint(sorted(os.environ.items()))"

EXPECTED = 120
"""What ``f(5)`` must give in the programs below; none of them computes it."""

CHEATING = {
    "exits before the check": "import sys\ndef f(n): return 0\nsys.exit(0)",
    "exits hard before the check": "import os\ndef f(n): return 0\nos._exit(0)",
    "exits in the call": "import sys\ndef f(n): sys.exit(0)",
    "exits hard in the call": "import os\ndef f(n): os._exit(0)",
    "raises SystemExit": "def f(n): raise SystemExit",
    "always equal": "class A:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\ndef f(n): return A()",
    "always equal, derived from int": "class A(int):\n    def __eq__(self, other): return True\ndef f(n): return A(3)",
    "a list of always equal": "class A:\n    def __eq__(self, other): return True\ndef f(n): return [A()]",
    "redefines print": "def print(*a, **k): pass\ndef f(n): return 0",
    "redefines bool": "def bool(x): return True\nint = str = list = bool\ndef f(n): return 0",
    "redefines the helpers of a test": "def check(*a): return True\nassertEqual = isclose = all = any = check\ndef f(n): return 0",
    "patches the builtins": "import builtins\nbuiltins.bool = builtins.abs = lambda x: True\ndef f(n): return 0",
    "raises an assertion itself": "def f(n): raise AssertionError('passed')",
    "imitates the protocol in print": "def f(n):\n    print('{\"state\": \"ok\", \"value\": 120, \"printed\": \"\", \"asked\": 0}')\nprint('passed')",
    "writes to every descriptor": (
        "import os\ndef f(n):\n    for fd in range(20):\n        try:\n"
        "            os.write(fd, b'{\"state\": \"ok\", \"value\": true, \"printed\": \"\", \"asked\": 0}\\n')\n"
        "        except OSError: pass\n    return 0"
    ),
    "rewrites the caller's names": "import sys\ndef f(n):\n    sys._getframe(1).f_globals['_value0_'] = True\n    return 0",
    "rewrites its own name": "_value0_ = True\n_tested_ = lambda n: True\ndef f(n): return 0",
    "returns an error": "def f(n): return AssertionError",
    "returns nothing": "def f(n): return None",
    "returns not-a-number": "def f(n): return float('nan')",
    "returns a lookalike string": "def f(n): return '120'",
    "returns an endless nesting": "def f(n):\n    x = []\n    x.append(x)\n    return x",
    "returns a shared nesting": "def f(n):\n    x = [1]\n    for _ in range(60): x = [x, x]\n    return x",
    "returns a deep nesting": "def f(n):\n    x = 1\n    for _ in range(50000): x = [x]\n    return x",
    "returns a huge number": "def f(n): return 10 ** 1000000",
    "traces the checker": "import sys\nsys.settrace(lambda *a: None)\nsys.modules.clear()\ndef f(n): return 0",
}  # fmt: skip
