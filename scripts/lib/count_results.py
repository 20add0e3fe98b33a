"""count_results.py STATUS FILE [STATUS FILE...]: adds up JUnit files, each with the exit status of what wrote it.

Prints the failures, the reasons of skips and `N passed, N failed[, N skipped]`; fails if anything did.
"""

import sys
import xml.etree.ElementTree as ElementTree

passed = failed = skipped = 0
for status, path in zip(sys.argv[1::2], sys.argv[2::2]):
    failed_before = failed
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        print(f"no results: {error}")
        cases = []
    for case in cases:
        name = f"{case.get('classname')}.{case.get('name')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            print(f"FAILED {name}")
            failed += 1
        elif skip is not None:
            print(f"skipped {name}: {' '.join(skip.get('message').split())}")
            skipped += 1
        else:
            passed += 1
    # A test program that crashes leaves no result of its own, or an old one.
    if (int(status) or not cases) and failed == failed_before:
        print(f"FAILED as a whole, with exit status {status}: {path}")
        failed += 1
print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
sys.exit(1 if failed else 0)
