# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables are those of `cluster`, which sources this
# The node: registry, containerd and kubelet, and what is left of them when they are gone.

node() {
  mkdir -p "$dir/cni" "$dir/kubelet" "$dir/hosts/docker.io" "$images"
  if [ ! "$images/perl.tar" -nt "$here/images.py" ] || [ ! "$images/perl.tar" -nt "$here/../../infra/archive.py" ]; then python3 "$here/images.py" "$images" "$debian"; fi
  start registry python3 "$here/registry.py" "$((port + 6))" "$images"
  # The only host of docker.io: an image that is not there is not found, and nothing is asked of the internet. Without a host of
  # its own, containerd 1.6 does not heed the server.
  printf 'server = "%s"\n[host."%s"]\n' "$registry" "$registry" >"$dir/hosts/docker.io/hosts.toml"
  cat >"$dir/cni/10-pods.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "$network", "plugins": [{"type": "ptp", "ipam": {"type": "host-local",
 "dataDir": "$dir/ipam", "ranges": [[{"subnet": "10.244.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
  # What pods take for the API server: the address of the Service `kubernetes`, which is the host's own, and not loopback's to them.
  ip address replace "$service/32" dev lo
  start service "$kubernetes" forward "$service:443" "127.0.0.1:$((port + 3))"
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE runc dies of it. netns_mounts_under_state_dir and Root: what `down` must find
  # again lies under our directory.
  cat >"$dir/containerd.toml" <<TOML
version = 2
root = "$dir/containerd-root"
state = "$dir/containerd-state"
[grpc]
  address = "$dir/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "localhost/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$dir/hosts"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "$dir/runc"
TOML
  # The first container's plugin switches it on; `down` puts it back.
  [ -f "$dir/ip_forward" ] || cp /proc/sys/net/ipv4/ip_forward "$dir/ip_forward"
  start containerd containerd -c "$dir/containerd.toml"
  await registry "the registry" 30 curl -sf --noproxy '*' "$registry/v2/"
  await containerd "containerd" 30 ctr -a "$dir/containerd.sock" version
  # Not from the registry: a pod must come far enough to be refused its images while that is down.
  [ -f "$dir/pause.loaded" ] || { load "$images/pause.tar" >/dev/null && touch "$dir/pause.loaded"; }
  # makeIPTablesUtilChains: nothing here needs them, and they would stay. imageGCHighThresholdPercent: a full disk must not take the
  # pause image away. serializeImagePulls: a pull that waits for its time-out must not hold up all others.
  # registryPullQPS: beyond five a second the kubelet would fail pulls, not delay them.
  cat >"$dir/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: $port
# On loopback, and for tests.
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://$dir/containerd.sock
failSwapOn: false
localStorageCapacityIsolation: false
evictionHard: {memory.available: "50Mi"}
imageGCHighThresholdPercent: 100
serializeImagePulls: false
registryPullQPS: 0
makeIPTablesUtilChains: false
podLogsDir: $dir/pod-logs
healthzPort: 0
maxPods: 200
YAML
  start kubelet "$kubernetes" kubelet --config "$dir/kubelet.yaml" --kubeconfig "$dir/kubelet.kubeconfig" \
    --hostname-override localhost --root-dir "$dir/kubelet" --cert-dir "$dir/kubelet-certs"
  await kubelet "the node" 90 node_is_ready
}

node_is_ready() { ask /api/v1/nodes/localhost | tr -d ' \n' | grep -q '"type":"Ready","status":"True"'; }

load() { ctr -a "$dir/containerd.sock" -n k8s.io images import "$1"; }

# The cgroups of our containers: containerd puts them where every containerd does, and keeps a directory for each of them.
node_cgroups() {
  local container
  for container in "$dir"/containerd-state/io.containerd.runtime.v2.task/k8s.io/*; do
    [ ! -d "$container" ] || find /sys/fs/cgroup -depth -type d -path "*/k8s.io/${container##*/}*"
  done
}

# What outlives kubelet and containerd: the containers; shims and runc, which name our directory.
node_processes() {
  local place command
  for place in $(node_cgroups); do cat "$place/cgroup.procs"; done | sort -u
  for place in /proc/[0-9]*; do
    read -r command <"$place/comm" || continue
    case $command in
      containerd-shim* | runc*) ! grep -qsaF "$dir/" "$place/cmdline" || basename "$place" ;;
    esac
  done
} 2>/dev/null

our_mounts() { awk -v dir="$dir/" 'index($2, dir) == 1 {print $2}' /proc/mounts | sort -r; }

# Nothing is asked of kubelet and containerd: it is all the same whether they ended well, were killed, or never ran. With its last
# process and its mount a network namespace goes, and with it the pair of interfaces.
remove_node() {
  local processes mounts deadline=$((SECONDS + 30)) place result id
  while mapfile -t processes < <(node_processes) && [ ${#processes[@]} -gt 0 ]; do
    [ $SECONDS -lt $deadline ] || refuse "these processes do not end: ${processes[*]}"
    kill -KILL "${processes[@]}" 2>/dev/null || true
    sleep 0.1
  done
  mapfile -t mounts < <(our_mounts)
  # Nothing may be removed below a mount that stays: it may be a directory of the machine.
  [ ${#mounts[@]} = 0 ] || umount -l "${mounts[@]}" || [ -z "$(our_mounts)" ] || refuse "these cannot be unmounted: $(our_mounts)"
  # Their parent only if it is empty: it is every containerd's.
  for place in $(node_cgroups) /sys/fs/cgroup/k8s.io /sys/fs/cgroup/*/k8s.io; do rmdir "$place" 2>/dev/null || true; done
  ip address delete "$service/32" dev lo 2>/dev/null || true
  if [ -f "$dir/ip_forward" ]; then cp "$dir/ip_forward" /proc/sys/net/ipv4/ip_forward; fi
  # What cannot be told to lie under our directory: the shims' sockets, the results of the network plugins, links to logs, and
  # the kubelet's directory for device plugins.
  find "$dir/containerd-state" -name address -exec cat {} + 2>/dev/null |
    grep -o '/run/containerd/s/[0-9a-f]*' | xargs -r rm -f || true
  for result in /var/lib/cni/results/"$network"-*; do
    id=${result#*"$network"-} && id=${id%-eth0}
    rm -f "$result" "/var/lib/cni/results/cni-loopback-$id-lo"
  done
  find /var/log/containers -lname "$dir/*" -delete 2>/dev/null || true
  if [ -d "$dir/kubelet" ]; then
    rm -f /var/lib/kubelet/device-plugins/kubelet{.sock,_internal_checkpoint}
    rmdir /var/lib/kubelet/device-plugins /var/lib/kubelet 2>/dev/null || true
  fi
}
