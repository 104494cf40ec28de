"""What is looked for in a Job, its pods and their events: each a function of what is seen, true once it shows."""


def conditions_of(item):
    """The names of those that hold."""
    return {one["type"] for one in item.get("status", {}).get("conditions", []) if one["status"] == "True"}


def statuses(seen):
    """Of all containers."""
    for pod in seen["pods"]:
        for kind in ("initContainerStatuses", "containerStatuses"):
            yield from pod["status"].get(kind, [])


# ---- the Job ----


def exists(seen):
    return "metadata" in seen["job"]


def fails(seen):
    return {"FailureTarget", "Failed"} & conditions_of(seen["job"])


def has_failed(seen):
    return "Failed" in conditions_of(seen["job"])


def is_complete(seen):
    return "Complete" in conditions_of(seen["job"])


def is_suspended(seen):
    return "Suspended" in conditions_of(seen["job"])


def is_ready(seen):
    return seen["job"].get("status", {}).get("ready") == 1


def is_between_retries(seen):
    status = seen["job"].get("status", {})
    return status.get("failed") == 1 and not status.get("active")


def is_looked_at(seen):
    """The Job controller has been there."""
    return "ready" in seen["job"].get("status", {})


# ---- its pods ----


def has_pod(seen):
    return seen["pods"]


def runs(seen):
    return any("running" in status["state"] for status in statuses(seen))


def runs_again(seen):
    """A container that was restarted."""
    return any("running" in status["state"] and status["restartCount"] for status in statuses(seen))


def waits_for(reason):
    def container_waits(seen):
        return any(status["state"].get("waiting", {}).get("reason") == reason for status in statuses(seen))

    return container_waits


def lacks_config(seen):
    """And the kubelet is sure: at first it may only say that it has not looked yet."""
    waiting = [status["state"].get("waiting", {}) for status in statuses(seen)]
    return any(one.get("reason") == "CreateContainerConfigError" and "timed out" not in one["message"] for one in waiting)


def is_unschedulable(seen):
    conditions = [one for pod in seen["pods"] for one in pod["status"].get("conditions", [])]
    return any(one["type"] == "PodScheduled" and one.get("reason") == "Unschedulable" for one in conditions)


def proxy_runs_on(seen):
    """The container `main` has ended, `proxy` has not."""
    states = {status["name"]: status["state"] for status in statuses(seen)}
    return "terminated" in states.get("main", {}) and "running" in states.get("proxy", {})


def node_is_lost(seen):
    """Its pods run, as far as anybody knows, and the Job does not count them as ready any more."""
    lost = [pod for pod in seen["pods"] if pod["status"].get("phase") == "Running" and "Ready" not in conditions_of(pod)]
    return lost and not is_ready(seen)


def is_taken_away(seen):
    return fails(seen) and any("DisruptionTarget" in conditions_of(pod) for pod in seen["pods"])


# ---- events ----


def event(reason):
    def event_is_there(seen):
        return any(event["reason"] == reason for event in seen["events"])

    return event_is_there


def both(one, other):
    def both_show(seen):
        return one(seen) and other(seen)

    return both_show
