"""A slow JPEG-LS encoder (ISO/IEC 14495-1) for what CharLS decodes and its Python bindings do not encode: preset
parameters, restart intervals, the number of lines behind the scan. One component, or several by line."""

import struct

ORDERS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15]


class Bits:
    def __init__(self):
        self.out, self.byte, self.room = bytearray(), 0, 8

    def put(self, value: int, count: int) -> None:
        for shift in range(count - 1, -1, -1):
            self.room -= 1
            self.byte |= (value >> shift & 1) << self.room
            if not self.room:
                self.out.append(self.byte)
                self.room, self.byte = 7 if self.byte == 0xFF else 8, 0

    def end(self) -> bytes:
        # Part of a byte, or the null bit that must follow a last 0xFF.
        if self.room < 8:
            self.out.append(self.byte)
        return bytes(self.out)


def thresholds(largest: int, near: int) -> list[int]:
    clamp = lambda value, least: least if value > largest or value < least else value
    if largest >= 128:
        factor = (min(largest, 4095) + 128) // 256
        low = clamp(factor + 2 + 3 * near, near + 1)
        middle = clamp(4 * factor + 3 + 5 * near, low)
        return [low, middle, clamp(17 * factor + 4 + 7 * near, middle)]
    factor = 256 // (largest + 1)
    low = clamp(max(2, 3 // factor + 3 * near), near + 1)
    middle = clamp(max(3, 7 // factor + 5 * near), low)
    return [low, middle, clamp(max(4, 21 // factor + 7 * near), middle)]


class Scan:
    """One restart interval."""

    def __init__(self, largest, near, limits, reset):
        self.largest, self.near, self.limits, self.reset = largest, near, limits, reset
        self.range = (largest + 2 * near) // (2 * near + 1) + 1
        self.wide = (self.range - 1).bit_length()
        bits = max(2, largest.bit_length())
        self.limit = 2 * (bits + max(8, bits))
        start = max(2, (self.range + 32) // 64)
        self.contexts = [[start, 0, 0, 1] for _ in range(365)]
        self.runs = [[start, 1, 0] for _ in range(2)]
        self.bits = Bits()

    def level(self, gradient):
        size = abs(gradient)
        steps = (size > self.near) + sum(size >= limit for limit in self.limits)
        return -steps if gradient < 0 else steps

    def golomb(self, value, k, limit):
        prefix = value >> k
        if prefix < limit - self.wide - 1:
            self.bits.put(1, prefix + 1)
            self.bits.put(value & (1 << k) - 1, k)
        else:
            self.bits.put(1, limit - self.wide)
            self.bits.put(value - 1, self.wide)

    def quantised(self, error):
        step = 2 * self.near + 1
        error = (error + self.near) // step if error > 0 else -((self.near - error) // step)
        error %= self.range
        return error - self.range if error >= (self.range + 1) // 2 else error

    def rebuilt(self, predicted, error):
        step = 2 * self.near + 1
        value = predicted + error * step
        if value < -self.near:
            value += self.range * step
        elif value > self.largest + self.near:
            value -= self.range * step
        return min(max(value, 0), self.largest)

    def line(self, above, samples, run):
        """Returns the line as a decoder has it and the next place in the table of runs."""
        columns = len(samples)
        above = [*above, above[-1]]
        out = [above[1]] + [0] * columns
        x = 1
        while x <= columns:
            left, corner, up, right = out[x - 1], above[x - 1], above[x], above[x + 1]
            place = 81 * self.level(right - up) + 9 * self.level(up - corner) + self.level(corner - left)
            if place:
                out[x] = self.regular(place, left, up, corner, samples[x - 1])
                x += 1
                continue
            start = x
            while x <= columns and abs(samples[x - 1] - left) <= self.near:
                out[x] = left
                x += 1
            length = x - start
            while length >= 1 << ORDERS[run]:
                self.bits.put(1, 1)
                length -= 1 << ORDERS[run]
                run = min(run + 1, 31)
            if x > columns:
                if length:
                    self.bits.put(1, 1)
                break
            self.bits.put(length, ORDERS[run] + 1)
            out[x] = self.run_end(left, above[x], samples[x - 1], run)
            run = max(run - 1, 0)
            x += 1
        return out, run

    def regular(self, place, left, up, corner, sample):
        sign, context = (-1, self.contexts[-place]) if place < 0 else (1, self.contexts[place])
        predicted = min(left, up) if corner >= max(left, up) else max(left, up) if corner <= min(left, up) else left + up - corner
        predicted = min(max(predicted + sign * context[2], 0), self.largest)
        error = self.quantised(sign * (sample - predicted))
        k = 0
        while context[3] << k < context[0]:
            k += 1
        if self.near == 0 and k == 0 and 2 * context[1] <= -context[3]:
            mapped = 2 * error + 1 if error >= 0 else -2 * (error + 1)
        else:
            mapped = 2 * error if error >= 0 else -2 * error - 1
        self.golomb(mapped, k, self.limit)
        context[0] += abs(error)
        context[1] += error * (2 * self.near + 1)
        if context[3] == self.reset:
            context[0], context[1], context[3] = context[0] >> 1, context[1] >> 1, context[3] >> 1
        context[3] += 1
        if context[1] <= -context[3]:
            context[1] = max(context[1] + context[3], 1 - context[3])
            context[2] = max(context[2] - 1, -128)
        elif context[1] > 0:
            context[1] = min(context[1] - context[3], 0)
            context[2] = min(context[2] + 1, 127)
        return self.rebuilt(predicted, sign * error)

    def run_end(self, left, up, sample, run):
        alike = int(abs(left - up) <= self.near)
        predicted = left if alike else up
        sign = -1 if not alike and left > up else 1
        error = self.quantised(sign * (sample - predicted))
        context = self.runs[alike]
        size = context[0] + (context[1] >> 1 if alike else 0)
        k = 0
        while context[1] << k < size:
            k += 1
        often_negative = 2 * context[2] >= context[1]
        turned = (k == 0 and error > 0 and 2 * context[2] < context[1]) or (error < 0 and (often_negative or k != 0))
        mapped = 2 * abs(error) - alike - turned
        self.golomb(mapped, k, self.limit - ORDERS[run] - 1)
        context[2] += error < 0
        context[0] += mapped + 1 - alike >> 1
        if context[1] == self.reset:
            context[:] = [value >> 1 for value in context]
        context[1] += 1
        return self.rebuilt(predicted, sign * error)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def encode(planes, precision, near=0, *, limits=(0, 0, 0), reset=0, restart=0, lines_behind=False, comment=b""):
    """`planes`: one list of rows a component. Zero stands for the standard's default."""
    rows, columns, count = len(planes[0]), len(planes[0][0]), len(planes)
    top = (1 << precision) - 1
    used = [given or default for given, default in zip(limits, thresholds(top, near))]
    if not near < used[0] <= used[1] <= used[2] <= top:
        raise ValueError("thresholds that contradict")
    ids = range(1, count + 1)
    frame = struct.pack(">BHHB", precision, 0 if lines_behind else rows, columns, count) + b"".join(bytes([i, 0x11, 0]) for i in ids)
    out = b"\xff\xd8" + segment(0xF7, frame)
    if comment:
        out += segment(0xFE, comment)
    if any(limits) or reset:
        out += segment(0xF8, struct.pack(">B5H", 1, 0, *limits, reset))
    if restart:
        out += segment(0xDD, struct.pack(">H", restart))
    out += segment(0xDA, bytes([count]) + b"".join(bytes([i, 0]) for i in ids) + bytes([near, int(count > 1), 0]))
    for number, start in enumerate(range(0, rows, restart or rows)):
        if number:
            out += bytes([0xFF, 0xD0 + (number - 1) % 8])
        scan = Scan(top, near, used, reset or 64)
        above, runs = [[0] * (columns + 1) for _ in planes], [0] * count
        for row in range(start, min(start + (restart or rows), rows)):
            for at, plane in enumerate(planes):
                above[at], runs[at] = scan.line(above[at], plane[row], runs[at])
        out += scan.bits.end()
    if lines_behind:
        out += segment(0xDC, struct.pack(">H", rows))
    return out + b"\xff\xd9"
