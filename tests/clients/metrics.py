"""Reads what /metrics says by Prometheus' own parser, which takes nothing that is not OpenMetrics.

Usage: metrics.py ADDRESS:PORT
Prints how many families there are; ends with 1 and the reason where there is something wrong.
"""

import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def main(server):
    request = urllib.request.Request(f"http://{server}/metrics")
    with urllib.request.urlopen(request, timeout=10) as answer:
        kind, text = answer.headers["Content-Type"], answer.read().decode("utf-8")
    if not kind.startswith("application/openmetrics-text"):
        sys.exit(f"the type is {kind}")
    families = list(text_string_to_metric_families(text))
    foreign = [family.name for family in families if not family.name.startswith("hairpin_")]
    empty = [family.name for family in families if not family.samples or not family.documentation]
    if foreign or empty or len(families) < 30:
        sys.exit(f"{len(families)} families; of others: {foreign}; without values or words: {empty}")
    print(len(families))


main(sys.argv[1])
