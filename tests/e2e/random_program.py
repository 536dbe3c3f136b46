"""C programs of random loop nests: what compilers make of them, nobody chose. Deterministic for a seed.

Each kernel is a nest of one to three loops over arrays of one type, with affine indices (shifted, strided, transposed,
backwards), in place or not, conditional or not, sometimes with iterations that depend on each other (tables of which each
element needs those above it and beside it among them), sometimes with sums,
extremes and the like that go round the nest (integers are then reduced in any order, floats are not), and sometimes with
NaN, infinities, denormals and negative zeros in the data. Some call functions (of the program, with more arguments than
registers at times, by reference, or of libm), go on until their data say so, choose by a switch, keep small arrays, or mix types. A
program runs each kernel often enough to be hot and prints a
hash of all arrays after each, so that one wrong byte shows.
"""
import random

FLOATS = ("double", "float")
INTEGERS = ("int", "unsigned", "long", "short", "unsigned char")
LIBM = ("exp", "log", "sin", "cos", "sqrt", "fabs", "floor", "tan", "atan")
SIDE = 250                # of the square that a nest goes over
PITCH = 2 * SIDE + 24     # bytes of a row are PITCH * sizeof(T)
CELLS = PITCH * (2 * SIDE + 24)

HEAD = f"""#include <stdio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
enum {{ kPitch = {PITCH}, kCells = {CELLS} }};
static unsigned long seed = 1;
static unsigned next(void) {{ seed = seed * 6364136223846793005ul + 1442695040888963407ul; return seed >> 33; }}
static unsigned long hash(const void* data, unsigned long n) {{
  const unsigned char* bytes = data;
  unsigned long h = 1469598103934665603ul;
  for (unsigned long i = 0; i < n; i++) h = (h ^ bytes[i]) * 1099511628211ul;
  return h;
}}
"""


class Kernel:
    def __init__(self, number, rng):
        self.rng, self.name = rng, f"kernel{number}"
        self.type = rng.choice(FLOATS + FLOATS + INTEGERS)
        self.is_float = self.type in FLOATS
        self.depth = rng.choice((1, 2, 2, 2, 3))
        self.special = self.is_float and rng.random() < 0.25
        self.style = rng.choice(("fresh", "fresh", "fresh", "in place", "shifted", "table"))
        if self.style == "table":
            self.depth = 2
        self.reduces = rng.random() < (0.08 if self.is_float else 0.4)
        self.functions = []  # sources of those that only this kernel calls
        self.cost = 1        # of a pass, roughly, against one of a few additions

    def constant(self):
        if self.is_float:
            suffix = "f" if self.type == "float" else ""
            return f"{self.rng.choice((0.5, 0.25, -0.125, 1.0, 0.75))}{suffix}"
        return str(self.rng.choice((1, 2, 3, 5, 7, 11, -3)))

    def index(self, same=False):
        rng = self.rng
        row, column = ("i", "j") if self.depth > 1 else ("0", "i")
        if same:
            return f"({row} + 4) * kPitch + {column} + 4"
        form = rng.choice(("plain", "plain", "plain", "shift", "shift", "stride", "transposed", "back", "row"))
        if form == "shift":
            return f"({row} + {rng.randrange(9)}) * kPitch + {column} + {rng.randrange(9)}"
        if form == "stride":
            return f"({row} + 1) * kPitch + 2 * {column} + {rng.randrange(4)}"
        if form == "transposed" and self.depth > 1:
            return f"({column} + 2) * kPitch + {row} + {rng.randrange(6)}"
        if form == "back":
            return f"({row} + 3) * kPitch + n + 8 - {column}"
        if form == "row":
            return f"{column} + {rng.randrange(5)}"
        return f"({row} + 4) * kPitch + {column} + 4"

    def term(self):
        array = self.rng.choice("bc")
        return self.rng.choice((f"{array}[{self.index()}]", f"{array}[{self.index()}]", "s", self.constant()))

    def expression(self):
        rng = self.rng
        text = self.term()
        for _ in range(rng.randrange(1, 4)):
            operators = ("+", "-", "*") if self.is_float else ("+", "-", "*", "^", "&", "|")
            text = f"({text} {rng.choice(operators)} {self.term()})"
        if rng.random() < 0.2:
            text = f"({text} < {self.constant()} ? {self.term()} : {text})"
        if not self.is_float and rng.random() < 0.3:
            text = f"({text} {rng.choice(('>>', '<<'))} {rng.randrange(1, 4)})"
        if self.is_float and rng.random() < 0.15:
            text = f"({text} / ({self.term()} + 2))"
        if rng.random() < 0.25:
            text = self.call(text)
        if rng.random() < 0.1:
            self.cost += 12 * self.is_float
            text = f"({self.type})({rng.choice(('int', 'float', 'double', 'short', 'unsigned char', 'long'))})" \
                   f"({'fmod(' + text + ', 100)' if self.is_float else text})"
        return text

    def call(self, argument):
        """Of libm, or of a function of its own, which then has some arguments more."""
        rng = self.rng
        if self.is_float and rng.random() < 0.5:
            self.cost += 10
            name = rng.choice(LIBM) + ("f" if self.type == "float" else "")
            return f"{name}({argument} * {self.constant()})"
        self.cost += 3
        name = f"{self.name}_function{len(self.functions)}"
        count = rng.choice((1, 2, 3, 7, 9))
        names = [f"x{i}" for i in range(count)]
        body = rng.choice((
            " + ".join(f"x{i} * {self.constant()}" for i in range(count)),
            f"x0 > {self.constant()} ? {names[-1]} : x0 - {names[count // 2]}",
            f"x0 * x0 + {names[-1]}"))
        self.functions.append(f"__attribute__((noinline)) static {self.type} {name}("
                              + ", ".join(f"{self.type} {x}" for x in names) + f") {{ return {body}; }}\n")
        return f"{name}({', '.join([argument] + [self.term() for _ in names[1:]])})"

    def several_statements(self, target):
        """What one assignment cannot say."""
        rng, t = self.rng, self.type
        number = f"({self.term()})"
        whole = f"((int)fmod({number}, 64) & 7)" if self.is_float else f"((int){number} & 7)"
        form = rng.choice(("until", "switch", "small array", "twice", "by reference", "by reference"))
        self.cost *= {"until": 15, "switch": 4, "small array": 4, "twice": 2, "by reference": 6}[form]
        if form == "by reference":
            return self.by_reference(target)
        if form == "until":
            return f"{t} x = {self.term()}; int k = 0; while (k < 40 && x < 100 && x > -100) " \
                   f"{{ x = x * 2 + {self.constant()}; k++; }} {target} = x + ({t})k;"
        if form == "switch":
            cases = "".join(f"case {i}: x = {self.expression()}; break; " for i in range(rng.choice((2, 5, 7))))
            return f"{t} x = 1; switch ({whole}) {{ {cases}default: x = {self.term()}; }} {target} = x;"
        if form == "small array":
            return f"{t} x[4]; for (int k = 0; k < 4; k++) x[k] = {self.expression()} + ({t})k; " \
                   f"{target} = x[0] + x[1] * x[2] - x[{rng.randrange(4)}];"
        return f"{target} = {self.expression()}; {target} = {target} + {self.term()};"

    def by_reference(self, target):
        """Locals of a pass that functions write: each by its own pointer, or as members of one structure."""
        rng, t = self.rng, self.type
        count = rng.choice((1, 2, 2, 3))
        is_structure = rng.random() < 0.4
        names = [f"r{i}" for i in range(count)]
        name = f"{self.name}_function{len(self.functions)}"
        places = [f"p->{x}" if is_structure else f"*{x}" for x in names]
        steps = []
        for _ in range(rng.randrange(1, 4)):
            value = rng.choice(("x", f"x * {self.constant()}", f"{rng.choice(places)} + x", f"{rng.choice(places)} * {self.constant()}"))
            condition = f"if (x > {self.constant()}) " if rng.random() < 0.4 else ""
            steps.append(f"{condition}{rng.choice(places)} = {value};")
        members = f"struct {name}_s {{ {' '.join(f'{t} {x};' for x in names)} }};\n" if is_structure else ""
        parameters = f"struct {name}_s* p" if is_structure else ", ".join(f"{t}* {x}" for x in names)
        self.functions.append(f"{members}__attribute__((noinline)) static void {name}({t} x, {parameters}) {{ {' '.join(steps)} }}\n")
        if rng.random() < 0.3:  # handed on
            inner, name = name, f"{name}_outer"
            arguments = "p" if is_structure else ", ".join(names)
            self.functions.append(f"__attribute__((noinline)) static void {name}({t} x, {parameters}) "
                                  f"{{ {inner}(x, {arguments}); {places[0]} = {places[-1]} + x; }}\n")
            own = f"{inner}_s"
        else:
            own = f"{name}_s"
        used = [f"o.{x}" if is_structure else x for x in names]
        declared = f"struct {own} o = {{" if is_structure else f"{t} "
        starts = [self.term() for _ in names]
        if is_structure:
            declared += ", ".join(starts) + "};"
        else:
            declared += ", ".join(f"{x} = {start}" for x, start in zip(names, starts)) + ";"
        order = names if rng.random() < 0.7 else names[::-1]
        hand = "&o" if is_structure else ", ".join(f"&{x}" for x in order)
        calls = " ".join(f"{name}({self.term()}, {hand});" for _ in range(rng.choice((1, 1, 2))))
        return f"{declared} {calls} {target} = {' + '.join(used)};"

    def reduction(self):
        """A step of one; where it is, or what is beside it, may make it none."""
        rng, value = self.rng, self.expression()
        form = rng.choice(("+", "+", "-", "^", "&", "|", "least", "most", "count", "horner"))
        if self.is_float and form in "^&|":
            form = "+"
        if form in ("least", "most"):
            statement = f"{{ {self.type} x = {value}; if (x {'<' if form == 'least' else '>'} r) r = x; }}"
        elif form == "count":
            statement = f"if ({value} > {self.constant()}) r++;"
        elif form == "horner":
            statement = f"r = r * 3 + {value};"
        else:
            statement = f"r {form}= {value};"
        if rng.random() < 0.3:
            statement = f"if (c[{self.index()}] {rng.choice('<>')} {self.constant()}) {statement}"
        if rng.random() < 0.2:
            statement += f" t += {self.term()};"
        if rng.random() < 0.15:
            statement += f" a[{self.index(same=True)}] = {rng.choice((self.expression(), 'r'))};"
        return f"{{ {statement} }}"

    def table_entry(self, target):
        """From elements near it, of which some have been written in this round."""
        rng = self.rng
        rows, columns = rng.choice(((1, 1), (1, 1), (1, 2), (2, 2), (3, 4))), rng.choice((1, 1, 2, 4))
        near = [f"a[(i + {4 + rng.randrange(-rows[0], rows[1])}) * kPitch + j + {4 + rng.randrange(-columns, columns + 1)}]"
                for _ in range(rng.randrange(1, 6))] + [f"a[(i + 3) * kPitch + j + {4 + rng.randrange(-1, 2)}]"]
        if rng.random() < 0.7:
            near.append("a[(i + 4) * kPitch + j + 3]")
        rng.shuffle(near)
        value = near[0]
        for element in near[1:]:
            form = rng.choice(("+", "+", "-", "least", "most"))
            if form in "+-":
                value = f"({value} {form} {element})"
            else:
                value = f"({value} {'<' if form == 'least' else '>'} {element} ? {value} : {element})"
        if self.is_float:
            value = f"{value} * {'0.25f' if self.type == 'float' else '0.25'}"
        if rng.random() < 0.6:
            value = f"{value} + {self.expression()}"
        return f"{target} = {value};"

    def body(self):
        target = f"a[{self.index(same=True)}]"
        if self.reduces:
            return self.reduction()
        if self.style == "in place":
            half = "0.5f" if self.type == "float" else "0.5" if self.is_float else "1"
            statement = f"{target} = {target} * {half} + {self.expression()};"
        elif self.style == "table":
            statement = self.table_entry(target)
        elif self.style == "shifted":
            statement = f"{target} = a[{self.index()}] + {self.expression()};"
        elif self.depth == 3:
            statement = f"{target} += b[(i + 4) * kPitch + k] * c[(k + 4) * kPitch + j];"
        elif self.rng.random() < 0.25:
            statement = f"{{ {self.several_statements(target)} }}"
        else:
            statement = f"{target} = {self.expression()};"
        if self.depth < 3 and self.rng.random() < 0.2:
            statement = f"if (b[{self.index()}] > {self.constant()}) {statement}"
        return statement

    def source(self):
        loops = ["for (long i = 0; i < n; i++)"] if self.depth == 1 else [
            "for (long i = 0; i < m; i++)", self.rng.choice(("for (long j = 0; j < n; j++)", "for (int j = 0; j < n; j++)",
                                                            "for (long j = n - 1; j >= 0; j--)"))]
        if self.depth == 3:
            loops.append("for (long k = 0; k < 12; k++)")
        pointer = f"{self.type}*"
        body = self.body()
        lines = self.functions + [f"__attribute__((noinline)) static void {self.name}({pointer} a, const {pointer} b, const {pointer} c, "
                 f"{self.type} s, long m, long n) {{"]
        if self.reduces:
            lines.append(f"  {self.type} r = a[7], t = a[8];")
        lines += ["  " * (i + 1) + loop for i, loop in enumerate(loops)]
        lines.append("  " * (len(loops) + 1) + body)
        lines.append("  a[7] = r; a[8] = t;\n}" if self.reduces else "}")
        return "\n".join(lines) + "\n"

    def calls(self, repetitions):
        t, name = self.type, self.name
        value = f"({t})((int)(next() % 2001) - 1000)" + (f" / ({t})512" if self.is_float else "")
        lines = [f"  {{ {t}* p = malloc(3ul * kCells * sizeof({t}));",
                 f"    for (long i = 0; i < 3l * kCells; i++) p[i] = {value};"]
        if self.special:
            bits = ("0x7fc00123u", "0xffc00456u", "0x7f800000u", "0xff800000u", "0x00000001u", "0x80000000u")
            if t == "double":
                bits = tuple(f"{b[:-1]}00000007ul" if b[2] in "7f" else f"{b[:-1]}ul" for b in bits)
            unsigned = "unsigned" if t == "float" else "unsigned long"
            lines.append(f"    {{ const {unsigned} odd[] = {{{', '.join(bits)}}}; for (int i = 0; i < 90; i++) "
                         f"memcpy(&p[next() % (3u * kCells)], &odd[next() % 6], sizeof({t})); }}")
        repetitions = max(40, int(repetitions / self.cost))
        rows = 1 if self.depth == 1 else SIDE
        columns = 2 * SIDE if self.depth == 1 else SIDE
        if self.depth == 1:
            repetitions *= 40
        elif self.depth == 3:
            repetitions = max(20, repetitions // 8)
        lines += [f"    for (int r = 0; r < {repetitions}; r++) {name}(p, p + kCells, p + 2 * kCells, ({t})3, {rows}, {columns});",
                  f'    printf("{name} %016lx\\n", hash(p, 3ul * kCells * sizeof({t}))); free(p); }}']
        return "\n".join(lines) + "\n"


def random_program(seed, kernels=4, repetitions=8000):
    rng = random.Random(seed)
    made = [Kernel(i, rng) for i in range(kernels)]
    return HEAD + "".join(k.source() for k in made) + "int main(void) {\n" + "".join(
        k.calls(repetitions) for k in made) + "}\n"
