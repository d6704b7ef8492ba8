"""Measures several ways to do the same thing by turns, and prints their times in one table."""
import statistics
import sys


def measure(title, hosts, ways, rounds, figures=("",), plain=("processes",)):
    """Run each way on each host by turns, so many rounds, and print a table for each figure.

    :param ways: list of (label, way); the others are compared with the first. way(host) returns
        seconds, or a dict of figures, which are seconds or plain numbers
    :param plain: the figures that are plain numbers
    :returns: dict of (label, host) -> list of the way's results, in the order of the rounds
    """
    taken = {(label, host): [] for label, _ in ways for host in hosts}
    for number in range(rounds):
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K%s, round %d of %d" % (title, number + 1, rounds))
        for host in hosts:
            for label, way in ways:
                result = way(host)
                taken[label, host].append(result if isinstance(result, dict) else {"": result})
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    for figure in figures:
        scale = 1 if figure in plain else 1000
        values = {key: [result[figure] * scale for result in results]
                  for key, results in taken.items()}
        print("| %s; rounds: %d | %s |" % (
            ", ".join(filter(None, (title, figure))), rounds,
            " | ".join("{:,} ports".format(host.ports) for host in hosts)))
        print("|---|%s" % ("---|" * len(hosts)))
        first = ways[0][0]
        for label, _ in ways:
            print("| %s | %s |" % (label, " | ".join(
                cell(values[label, host], None if label == first else values[first, host])
                for host in hosts)))
        print(flush=True)
    return taken


def cell(taken, others):
    """A cell of the table: median and minimum; in all lines but the first also the ratio to the
    first line, which is the median of the ratios of all rounds, and the difference from the first
    line if that ratio is between 1/2 and 2."""
    text = "%s (%s)" % (digits(statistics.median(taken), 3), digits(min(taken), 3))
    if others:
        ratio = statistics.median(own / other for own, other in zip(taken, others))
        if ratio <= 0.5:
            text += ", **1/%s**" % digits(1 / ratio, 2)
        else:
            text += ", **%s**" % digits(ratio, 3)
        if 0.5 < ratio < 2:
            text += ", %+.1f" % statistics.median(own - other for own, other in zip(taken, others))
    return text


def digits(value, count):
    """A number with so many digits, and with all digits before the point: ``1.5``, ``1,500``."""
    after = max(0, count - len("%d" % value))
    return "{:,.{}f}".format(value, after)
