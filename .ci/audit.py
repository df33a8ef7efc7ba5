"""Whether what is deployed has known vulnerabilities: asks PyPI, by way of pip-audit, about all that is pinned.

Fails when there are some, or when only a part could be asked about. Where nobody answers, as on a machine without
internet, it says plainly that nothing was audited, and passes: that is no fault of the change. Arguments go to
pip-audit.
"""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"
PIP_AUDIT = Path(sysconfig.get_path("scripts")) / "pip-audit"
WRONG_USAGE = 2


def main(options: list[str]) -> int:
    pinned = "".join(line for line in REQUIREMENTS.open() if "==" in line)
    asking = ["--requirement=/dev/stdin", "--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off"]
    ran = subprocess.run([PIP_AUDIT, *asking, *options], input=pinned, capture_output=True, text=True, check=False)
    if ran.returncode == WRONG_USAGE:
        print(ran.stderr, file=sys.stderr)
        return WRONG_USAGE
    try:
        found: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except ValueError:
        found = []
    audited = [each for each in found if "vulns" in each]
    vulnerable = [each for each in audited if each["vulns"]]
    for each in vulnerable:
        for vulnerability in each["vulns"]:
            names = ", ".join([vulnerability["id"], *vulnerability["aliases"]])
            fixed = f"fixed in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
            print(f"{each['name']} {each['version']}: {names}, {fixed}: {vulnerability['description'][:300]}")
    if not audited:
        words = found[0]["skip_reason"] if found else (ran.stderr.splitlines() or ["no reason given"])[-1]
        print(
            f"NOT AUDITED: no vulnerability service answered, so nobody knows of any vulnerabilities ({words[:200]})."
        )
        return 0
    missed = len(pinned.splitlines()) - len(audited)
    if missed:
        print(f"{missed} packages could not be audited.")
    if not vulnerable and not missed:
        print(f"{len(audited)} packages, no known vulnerabilities.")
    return int(bool(vulnerable or missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
