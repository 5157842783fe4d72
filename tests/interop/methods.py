"""Runs one case for each public method of a client package.

The methods are found by walking the client that is tried, not listed: a method without a case fails, and so does a case
that does not call its method. A case that is refused says so with the line of the contract that wants it, and must then
be refused in just that way. Prints one line for each method, and one for each request of its case. Used by py_consul.py and python_consul.py.
"""

import functools
import time

CASES = {}

# How long a case waits for a state, in seconds.
PATIENCE = 20


def case(path, refused=None):
    """States the case of a method. `refused` is (exception, HTTP status, line of the contract)."""

    def keep(function):
        assert path not in CASES, f"{path} has two cases"
        CASES[path] = (function, refused)
        return function

    return keep


def until(what, look, patience=PATIENCE):
    """Asks until the answer is there, and returns it."""
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {patience} s in vain for {what}"
        time.sleep(0.02)


def raises(exception, call, *args, **kwargs):
    """Calls what must fail, and returns the failure's text."""
    try:
        answer = call(*args, **kwargs)
    except exception as error:
        return str(error)
    raise AssertionError(f"{exception.__name__} was due and {answer!r} was answered")


class Trial:
    """What has been called, and what the servers answered last."""

    def __init__(self, package, absent=()):
        self.package = package
        # These, and what begins with one that ends in a dot, are not served yet: they must fail, so that the list cannot
        # outlive its reason.
        self.absent = absent
        self.called = set()
        self.paths = []
        self.asked = set()
        self.status = None

    def watch(self, client):
        """Notes each call of a public method of `client`, and returns it."""
        self._walk(client, "", {id(client)})

        def note(response, **_):
            self.status = response.status_code
            self.asked.add(f"{response.request.method} {response.request.path_url}")

        client.http.session.hooks["response"].append(note)
        return client

    def watch_class(self, name, owner):
        """The same for the public class methods of a class."""
        for method in [name for name, value in vars(owner).items() if isinstance(value, classmethod)]:
            if not method.startswith("_"):
                path = f"{name}.{method}"
                setattr(owner, method, staticmethod(self._noted(path, getattr(owner, method))))

    def _walk(self, thing, path, seen):
        for name in dir(type(thing)):
            if not name.startswith("_") and callable(getattr(type(thing), name)) and not self._nested(thing, name):
                setattr(thing, name, self._noted(path + name, getattr(thing, name)))
        for name, part in list(vars(thing).items()):
            if type(part).__module__.split(".")[0] == self.package and name != "http" and id(part) not in seen:
                seen.add(id(part))
                self._walk(part, f"{path}{name}.", seen)

    @staticmethod
    def _nested(thing, name):
        return isinstance(getattr(type(thing), name), type)

    def _noted(self, path, method):
        if path not in self.paths:
            self.paths.append(path)

        @functools.wraps(method)
        def noted(*args, **kwargs):
            self.called.add(path)
            return method(*args, **kwargs)

        return noted

    def run(self, *args):
        """Runs every case, says how it went, and returns whether all is well."""
        problems = []
        # In the order in which the cases stand in their file: what comes last may end the node.
        for path, (function, refused) in CASES.items():
            if path not in self.paths:
                problems.append(f"{path}: a case for a method that is not there")
                continue
            self.called.discard(path)
            self.asked.clear()
            self.status = None
            problem = self._one(function, refused, args)
            if path in self.absent or any(word.endswith(".") and path.startswith(word) for word in self.absent):
                if problem is None:
                    problems.append(f"{path}: it is served, and listed as absent")
                continue
            if problem is None and path not in self.called:
                problem = "its case does not call it"
            if problem:
                problems.append(f"{path}: {problem}")
                continue
            for operation in sorted(self.asked):
                print(f"asked: {path} {operation}", flush=True)
            result = f"refused with {refused[1]}, the contract's {refused[2]}" if refused else "passed"
            print(f"method: {path} {result}", flush=True)
        for path in self.paths:
            if path not in CASES:
                problems.append(f"{path}: no case")
        for problem in problems:
            print(f"FAILED: {problem}", flush=True)
        print(f"figure: {len(self.paths)} methods of {self.package}, {len(problems)} failed", flush=True)
        return not problems

    def _one(self, function, refused, args):
        try:
            function(*args)
        except Exception as error:  # pylint: disable=broad-except
            if refused and type(error) is refused[0] and self.status == refused[1]:
                return None
            line = error.__traceback__
            while line.tb_next and line.tb_next.tb_frame.f_code.co_filename == function.__code__.co_filename:
                line = line.tb_next
            return f"line {line.tb_lineno}: {type(error).__name__}: {error} (last status {self.status})"
        return "it was not refused" if refused else None
