"""What every row of `program_rows` finds in its directory: the same bytes each time."""
import array
import pathlib
import shutil

INPUTS = pathlib.Path(__file__).resolve().parent / "program_rows" / "inputs"


class Generator:
    """A linear congruential generator: the same numbers on every machine and Python."""

    def __init__(self, state=12345):
        self.state = state

    def bits(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        return self.state >> 33


def write_text(folder, bits):
    words = ["".join("etaoinshrdlucmfwypvbgkjqxz"[min(bits() % 26, bits() % 26)] for _ in range(2 + bits() % 9))
             for _ in range(40000)]
    (folder / "words").write_text("\n".join(words) + "\n")
    (folder / "numbers").write_text("".join(f"{bits() % 1000003}\n" for _ in range(40000)))
    (folder / "table").write_text("".join(f"{bits() % 9973},{words[bits() % 50]},{bits() % 1000 / 8}\n" for _ in range(20000)))


def write_binary(folder, bits):
    noise = b"".join(bits().to_bytes(4, "little") for _ in range(50000))
    (folder / "binary").write_bytes(noise + bytes(300000) + noise[:100000] + b"some readable text here\n" * 9000)


def write_image(folder, bits, width=640, height=480):
    rows = []
    for y in range(height):
        row = bytearray()
        for x in range(width):
            row += bytes(((x * y >> 7) & 255, (x + y) & 255, (x ^ y) & 255 if x < 400 else bits() & 63))
        rows.append(bytes(row))
    (folder / "image.ppm").write_bytes(b"P6\n%d %d\n255\n" % (width, height) + b"".join(rows))


def write_sound(folder, bits, seconds=6, rate=44100):
    """Two channels of 16 bits: two triangles of changing pitch, and noise."""
    samples = array.array("h")
    left = right = 0
    for i in range(seconds * rate):
        left = (left + 700 + (i >> 9)) & 65535
        right = (right + 1100 - (i >> 10)) & 65535
        samples.append(abs(left - 32768) // 2 - 8192 + bits() % 500)
        samples.append(abs(right - 32768) // 2 - 8192)
    data = samples.tobytes()
    header = (b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little") +
              (1).to_bytes(2, "little") + (2).to_bytes(2, "little") + rate.to_bytes(4, "little") +
              (rate * 4).to_bytes(4, "little") + (4).to_bytes(2, "little") + (16).to_bytes(2, "little"))
    (folder / "sound.wav").write_bytes(header + b"data" + len(data).to_bytes(4, "little") + data)


def make(folder):
    """Writes everything into a new folder; a few seconds, so it is done once and copied."""
    folder = pathlib.Path(folder)
    shutil.copytree(INPUTS, folder)
    for write in (write_text, write_binary, write_image, write_sound):
        write(folder, Generator().bits)
