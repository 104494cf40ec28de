//! What the node does not admit: a pod that asks for more processors than it has. The scheduler here never finds it too small; a pod
//! that names its node passes the scheduler by on every cluster.

use serde_json::Value;

use super::fields;

/// The node's processors, in thousandths.
const CAPACITY: u64 = 64_000;

/// Why a pod is rejected: the reason, and the message.
pub(crate) fn rejection(pod: &Value) -> Option<(&'static str, String)> {
    let requests = fields::list(pod, "/spec/containers").iter().filter_map(|container| {
        let request = container.pointer("/resources/requests/cpu")?;
        thousandths(&request.as_str().map_or_else(|| request.to_string(), str::to_owned))
    });
    let requested: u64 = requests.sum();
    (requested > CAPACITY).then(|| {
        let why =
            format!("Node didn't have enough resource: cpu, requested: {requested}, used: 0, capacity: {CAPACITY}");
        ("OutOfcpu", why)
    })
}

/// A quantity of processors: `2`, `500m`, `4k`.
fn thousandths(quantity: &str) -> Option<u64> {
    let (digits, unit) = match quantity.strip_suffix('m') {
        Some(digits) => (digits, 1),
        None => quantity.strip_suffix('k').map_or((quantity, 1000), |digits| (digits, 1_000_000)),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
