#!/usr/bin/python3
"""What can be said of packaging/oci without a cluster and without a registry: its manifests are YAML, hold what the README beside them
promises, agree with the Dockerfile and with the program's defaults, and name only what is there.

    manifests.py PROGRAM           checks; the program reads the configurations
    manifests.py --configuration   prints the configuration that kubernetes.yaml holds"""

import os
import re
import subprocess
import sys
import tempfile

import yaml

OCI = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "packaging", "oci")
KINDS = {"ConfigMap": "v1", "Secret": "v1", "Service": "v1", "Job": "batch/v1", "Deployment": "apps/v1", "PodDisruptionBudget": "policy/v1"}
SERVICE_KEYS = {"image", "build", "command", "environment", "volumes", "healthcheck", "depends_on", "ports", "read_only", "cap_drop",
                "security_opt", "restart", "stop_grace_period"}


def read(*path):
    with open(os.path.join(OCI, *path), encoding="utf-8") as f:
        return f.read()


def demand(truth, what):
    if not truth:
        sys.exit(f"packaging/oci: {what}")


def objects():
    return list(yaml.safe_load_all(read("kubernetes.yaml")))


def of_kind(kind):
    return [thing for thing in objects() if thing["kind"] == kind]


def configuration():
    [thing] = of_kind("ConfigMap")
    return thing["data"]["boxhaul.conf"]


def dockerfile():
    """[(instruction, arguments)], continued lines joined."""
    text = re.sub(r"(?m)^#.*\n", "", read("Dockerfile")).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def check_pod(name, pod, user):
    security = pod["securityContext"]
    demand(security["runAsNonRoot"] is True and security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == user,
           f"{name} does not run as the image's user")
    demand(security["seccompProfile"] == {"type": "RuntimeDefault"}, f"{name} has no seccomp profile")
    demand(pod["automountServiceAccountToken"] is False, f"{name} has a token of the cluster")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for container in pod["containers"]:
        demand(container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                "capabilities": {"drop": ["ALL"]}}, f"{name} is not confined")
        for mount in container["volumeMounts"]:
            demand(mount["name"] in volumes and mount["readOnly"] is True, f"{name} mounts {mount['name']}")
    names = {(kind, thing["metadata"]["name"]) for kind in ("ConfigMap", "Secret") for thing in of_kind(kind)}
    for volume in volumes.values():
        if "secret" in volume:
            demand(volume["secret"]["defaultMode"] == 0o440, f"{name} has a secret that boxhaul would refuse")
            demand(("Secret", volume["secret"]["secretName"]) in names, f"{name} has an unknown secret")
        else:
            demand(("ConfigMap", volume["configMap"]["name"]) in names, f"{name} has an unknown ConfigMap")


def check_kubernetes(user, port):
    for thing in objects():
        demand(KINDS.get(thing["kind"]) == thing["apiVersion"], f"{thing['kind']} of {thing['apiVersion']}")
        demand(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", thing["metadata"]["name"]), f"the name {thing['metadata']['name']}")
    [deployment], [job], [budget], [service] = map(of_kind, ("Deployment", "Job", "PodDisruptionBudget", "Service"))
    spec, pod = deployment["spec"], deployment["spec"]["template"]["spec"]
    check_pod("the Deployment", pod, user)
    check_pod("the Job", job["spec"]["template"]["spec"], user)
    demand(spec["replicas"] == 2, "there is no standby")
    labels = spec["template"]["metadata"]["labels"]
    for selector in (spec["selector"]["matchLabels"], budget["spec"]["selector"]["matchLabels"], service["spec"]["selector"]):
        demand(selector.items() <= labels.items(), "a selector selects no pod")
    [container] = pod["containers"]
    demand(container["image"] == job["spec"]["template"]["spec"]["containers"][0]["image"], "two images")
    probes = {name: container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")}
    demand(probes == {"livenessProbe": {"path": "/livez", "port": "health"}, "readinessProbe": {"path": "/readyz", "port": "health"}},
           f"the probes are {probes}")
    demand(container["ports"] == [{"name": "health", "containerPort": port}], "the port is not the image's")
    drain = int(re.search(r'drain_timeout = "(\d+)s"', SAMPLE).group(1))
    demand(pod["terminationGracePeriodSeconds"] > drain, "a pod is killed before it has drained")
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    for path in re.findall(r'_file = "(/[^"]+)"', configuration()):
        demand(os.path.dirname(path) in mounts, f"{path} is not mounted")
        for secret in of_kind("Secret"):
            demand(os.path.basename(path) in secret["stringData"], f"{secret['metadata']['name']} lacks {path}")


def check_compose():
    compose = yaml.safe_load(read("compose.yaml"))
    for name, service in compose["services"].items():
        demand(set(service) <= SERVICE_KEYS, f"compose.yaml: {name} has {set(service) - SERVICE_KEYS}")
        for other, wanted in service.get("depends_on", {}).items():
            demand(other in compose["services"], f"compose.yaml: {name} waits for {other}, which is not there")
            demand(wanted["condition"] != "service_healthy" or "healthcheck" in compose["services"][other], f"{other} has no healthcheck")
        for source, *_ in (volume.split(":") for volume in service.get("volumes", [])):
            demand(source in compose["volumes"] or os.path.exists(os.path.join(OCI, source)), f"compose.yaml: {name} mounts {source}")
        if "build" in service:
            demand(os.path.exists(os.path.join(OCI, service["build"]["context"], service["build"]["dockerfile"])), f"{name}: no Dockerfile")


def check_program(program):
    for text in (configuration(), read("demo", "boxhaul.conf")):
        demand('listen = "0.0.0.0:9431"' in text, "a health port that no probe reaches")
        with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            done = subprocess.run([program, "config", "show", "-c", f.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False)
            demand(done.returncode == 0, f"the program does not take a configuration: {done.stdout}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--configuration"]:
        print(configuration(), end="")
        sys.exit()
    SAMPLE = subprocess.run([sys.argv[1], "config-sample"], stdout=subprocess.PIPE, text=True, check=True).stdout
    PARTS = dict(dockerfile())  # the last of each kind
    demand(PARTS["USER"] == "10001:10001", "the image runs as root")
    check_kubernetes(int(PARTS["USER"].split(":")[0]), int(PARTS["EXPOSE"]))
    check_compose()
    check_program(sys.argv[1])
    print(f"{len(objects())} objects for Kubernetes and the services of Compose are as their README says")
