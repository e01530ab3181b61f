"""``pip-audit --strict`` over a lock, told apart by what it came to.

pip-audit fails in the same way for a vulnerability and for a database that is out of reach; ``--strict`` stops at the first package
that can't be audited, and hides a vulnerable one behind it; and without it a run in which nothing could be audited ends with
0 and "No known vulnerabilities found". So it is run without, and judged here.

Exit codes: 0 when every package was audited and none is vulnerable, or when the database did not answer, which is said;
1 for a vulnerability, or a package that the database does not know while it knows others; 2 when the audit itself failed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

# What pip-audit and the HTTP client below it end with: no route, no name, a time-out, an error page.
_UNREACHABLE = re.compile(
    r"your network may be blocking|^pip_audit\._service\.\w+\.(ServiceError|ConnectionError)"
    r"|^requests\.exceptions\.(ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|JSONDecodeError)",
    re.MULTILINE,
)


def main(lock: str, *options: str) -> int:
    """Audit, say what came of it, and return the exit code."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
    done = subprocess.run(
        [*command, "--format", "json", "--requirement", lock, *options], capture_output=True, text=True, check=False
    )
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        if _UNREACHABLE.search(done.stderr):
            return _not_audited()
        print(f"audit: pip-audit failed with {done.returncode}:\n{done.stderr}", file=sys.stderr)
        return 2
    return judge(dependencies)


def judge(dependencies: list[dict[str, Any]]) -> int:
    """What a report comes to.

    Args:
        dependencies: of pip-audit's JSON: each has ``vulns``, or ``skip_reason`` where it could not be audited.
    """
    vulnerable = [(each, vuln) for each in dependencies for vuln in each.get("vulns", ())]
    unknown = [each for each in dependencies if "skip_reason" in each]
    for each, vuln in vulnerable:
        fixed = ", ".join(vuln["fix_versions"]) or "no version yet"
        print(
            f"audit: {each['name']} {each['version']} is vulnerable: {vuln['id']}, mended in {fixed}", file=sys.stderr
        )
    if not vulnerable and len(unknown) == len(dependencies):
        return _not_audited()
    for each in unknown:
        print(f"audit: {each['name']}: {each['skip_reason']}", file=sys.stderr)
    if vulnerable or unknown:
        return 1
    print(f"audit: {len(dependencies)} packages, none with a known vulnerability")
    return 0


def _not_audited() -> int:
    print(
        "audit: NOT AUDITED: the database of vulnerabilities did not answer, so nothing is known of any package",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
