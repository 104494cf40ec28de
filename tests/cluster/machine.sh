# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables are those of `cluster`, which sources this
# What a machine must have before a cluster can come up on it.

# Debian's packages that are missing. The programs are looked for, not the packages: another distribution's do as well.
missing_packages() {
  command -v containerd >/dev/null && command -v ctr >/dev/null || echo containerd
  command -v runc >/dev/null || echo runc
  [ -x /usr/lib/cni/ptp ] && [ -x /usr/lib/cni/host-local ] || echo containernetworking-plugins
  command -v ip >/dev/null || echo iproute2
  # For the perl image. Debian's perl-base alone is not the whole of Perl.
  /usr/bin/perl -MMath::Trig -e 1 2>/dev/null || echo perl
  local tool
  for tool in curl openssl python3; do command -v "$tool" >/dev/null || echo "$tool"; done
}

# Packages that are unpacked, not installed: they are for the images only. busybox-static and busybox exclude each other on a
# machine, and the article's program needs a Math::BigInt newer than Debian 12's perl brings.
unpacked_packages=(busybox-static libmath-bigint-perl)

unpack_and_install() {
  local package
  apt-get update -qq || return 1
  if [ $# -gt 0 ]; then DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" || return 1; fi
  rm -rf "$debian.part" && mkdir "$debian.part" && (cd "$debian.part" && apt-get download -qq "${unpacked_packages[@]}") || return 1
  for package in "$debian.part"/*.deb; do dpkg -x "$package" "$debian.part" || return 1; done
  rm -rf "$debian" && mv "$debian.part" "$debian"
}

install_packages() {
  local packages
  mapfile -t packages < <(missing_packages)
  if [ ${#packages[@]} -gt 0 ] || [ ! -d "$debian" ]; then
    say "installs Debian's packages:" "${packages[@]}" "${unpacked_packages[@]}"
    unpack_and_install "${packages[@]}" >"$dir/packages.log" 2>&1 || fail packages "Debian's packages cannot be installed"
  fi
}

must_build() {
  local source
  for source in "$here"/*.go "$here"/go.mod "$here"/go.sum; do [ "$kubernetes" -nt "$source" ] || return 0; done
  return 1
}

# lacks_space GIGABYTES PLACE: PLACE need not exist yet.
lacks_space() {
  local place=$2
  until [ -d "$place" ]; do place=$(dirname "$place"); done
  [ "$(df -Pk "$place" | awk 'NR == 2 {print $4}')" -lt $(($1 * 1024 * 1024)) ]
}

overlay_works() {
  local probe=$dir/probe options
  options="lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work"
  mkdir -p "$probe"/{lower,upper,work,merged} && unshare --mount mount -t overlay -o "$options" overlay "$probe/merged"
  local result=$?
  rm -rf "$probe"
  return $result
} 2>/dev/null

# A cgroup of version 1 or 2 in which memory can be limited.
cgroups_work() {
  local root=/sys/fs/cgroup
  if [ -f $root/cgroup.controllers ]; then
    grep -qw memory $root/cgroup.subtree_control || echo +memory >$root/cgroup.subtree_control || return 1
  else
    root=$root/memory
  fi
  mkdir "$root/runjob-probe" && rmdir "$root/runjob-probe"
} 2>/dev/null

# missing_go GO_MOD: a line if there is no Go, or too old a one.
missing_go() {
  local needed have
  needed=$(sed -n 's/^go //p' "$1")
  # GOTOOLCHAIN: not to download a newer Go just to ask which this is.
  have=$(cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || true
  if [ -z "$have" ]; then
    echo "Go $needed or later: it is built from source"
  elif [ "$(printf '%s\n' "$needed" "${have#go}" | sort -V | head -n 1)" != "$needed" ]; then
    echo "Go $needed or later: this is ${have#go}"
  fi
}

# missing_port PORT NAME: a line if somebody else has it.
missing_port() {
  if ! lives "$2" && (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
    echo "port $1 for the $2: somebody listens on it; RUNJOB_CLUSTER_PORT moves all of ours"
  fi
}

# One line for each thing that is missing.
missing() {
  local packages cache offset
  if [ "$(id -u)" != 0 ]; then
    echo "root: a kubelet needs it"
  else
    mkdir -p "$dir" 2>/dev/null || echo "the directory $dir: it cannot be made; RUNJOB_CLUSTER_DIR names another"
    # Without CAP_SYS_ADMIN the other two fail for that reason, and need no line of their own.
    if ! unshare --mount --net true 2>/dev/null; then
      echo "CAP_SYS_ADMIN: namespaces cannot be made; inside of a container, that must be a privileged one"
    elif ! overlay_works; then
      echo "overlayfs on $dir: RUNJOB_CLUSTER_DIR names a directory on another file system, such as a volume"
    fi
    cgroups_work || echo "a writable /sys/fs/cgroup with the memory controller: inside of a container, --privileged --cgroupns=host"
  fi
  mapfile -t packages < <(missing_packages)
  [ -d "$debian" ] || packages+=("${unpacked_packages[@]}")
  if [ ${#packages[@]} -gt 0 ] && ! command -v apt-get >/dev/null; then
    echo "Debian's packages ${packages[*]}, and apt-get to install them"
  fi
  if must_build; then
    missing_go "$here/go.mod"
    if cache=$(go env GOCACHE 2>/dev/null) && lacks_space 3 "$cache"; then
      echo "3 GB of space in $cache: the build fills Go's cache"
    fi
  fi
  ! lacks_space 1 "$dir" || echo "1 GB of space in $dir"
  for offset in "${!ports[@]}"; do
    missing_port "$((port + offset))" "${ports[offset]}"
  done
}

check_machine() {
  local lines
  lines=$(missing)
  [ -z "$lines" ] || refuse_all "$lines"
}
