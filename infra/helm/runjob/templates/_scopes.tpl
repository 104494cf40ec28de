{{/* What the worker serves in the cluster that it runs in, and what its Leases are called there. */}}

{{/*
A list of lists of namespaces, as JSON in {"scopes": …}: one list for each part of this cluster that the worker serves by the service
account of its pod. An empty one is every namespace. The worker has a Lease for each.
*/}}
{{- define "runjob.scopes" -}}
{{- $scopes := list -}}
{{- if .Values.clusters -}}
  {{- range $name, $cluster := .Values.clusters -}}
    {{- if $cluster.inCluster -}}
      {{- $scopes = append $scopes ($cluster.namespaces | default list) -}}
    {{- end -}}
  {{- end -}}
{{- else if .Values.clusterWide -}}
  {{- $scopes = append $scopes list -}}
{{- else -}}
  {{- $scopes = append $scopes .Values.namespaces -}}
{{- end -}}
{{- dict "scopes" $scopes | toJson -}}
{{- end -}}

{{/* "yes" where Jobs may run beside the worker: there they can mount every Secret that the worker can. */}}
{{- define "runjob.jobsBesideWorker" -}}
{{- $beside := "" -}}
{{- range (include "runjob.scopes" . | fromJson).scopes -}}
  {{- if or (not .) (has $.Release.Namespace .) -}}{{- $beside = "yes" -}}{{- end -}}
{{- end -}}
{{- $beside -}}
{{- end -}}

{{/*
The service accounts that Jobs of a scope may run as, given {root, accounts, namespaces}, as JSON in {"accounts": …}: those that are listed.
Where Jobs run beside the worker and none are listed it is `default`, not every one: the worker's own may answer all tasks.
*/}}
{{- define "runjob.jobAccounts" -}}
{{- $accounts := .accounts | default list -}}
{{- if and (not $accounts) (or (not .namespaces) (has .root.Release.Namespace .namespaces)) -}}
{{- $accounts = list "default" -}}
{{- end -}}
{{- dict "accounts" $accounts | toJson -}}
{{- end -}}

{{/* The same of the one cluster, where there are not several. */}}
{{- define "runjob.ownJobAccounts" -}}
{{- $accounts := list -}}
{{- if not .Values.clusters -}}
  {{- $namespaces := first (include "runjob.scopes" . | fromJson).scopes -}}
  {{- $scope := dict "root" . "accounts" .Values.allowServiceAccounts "namespaces" $namespaces -}}
  {{- $accounts = (include "runjob.jobAccounts" $scope | fromJson).accounts -}}
{{- end -}}
{{- dict "accounts" $accounts | toJson -}}
{{- end -}}

{{/* The group, as the worker derives it: ACCOUNT.REGION. Empty if nobody can know it here. */}}
{{- define "runjob.group" -}}
{{- if .Values.group -}}
{{- .Values.group -}}
{{- else if .Values.activityArns -}}
{{- $parts := splitList ":" (first .Values.activityArns) -}}
{{- printf "%s.%s" (index $parts 4) (index $parts 3) -}}
{{- end -}}
{{- end -}}

{{/* The region for the sources of credentials. */}}
{{- define "runjob.region" -}}
{{- if .Values.aws.region -}}
{{- .Values.aws.region -}}
{{- else if .Values.activityArns -}}
{{- index (splitList ":" (first .Values.activityArns)) 3 -}}
{{- end -}}
{{- end -}}

{{/*
The name of the Lease of a scope, given {group, namespaces}: what `lease_name` in worker/core/src/names.rs makes. For a group that may
stand in a name, and every namespace, it is runjob-GROUP. Otherwise a hash is added: 10 characters of base 32, so 50 bits of a SHA-256.
*/}}
{{- define "runjob.leaseName" -}}
{{- $plain := printf "runjob-%s" .group -}}
{{- $label := "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?" -}}
{{- if and (not .namespaces) (regexMatch (printf "^%s(\\.%s)*$" $label $label) $plain) -}}
{{- $plain -}}
{{- else -}}
{{- $parts := concat (list .group) (.namespaces | uniq | sortAlpha) -}}
{{- $bits := 0 -}}
{{- range splitList "" (join "/" $parts | sha256sum | trunc 13) -}}
  {{- $bits = add (mul $bits 16) (len (regexFind (printf "^[^%s]*" .) "0123456789abcdef")) -}}
{{- end -}}
{{- $bits = div $bits 4 -}}
{{- $hash := "" -}}
{{- range until 10 -}}
  {{- $digit := mod $bits 32 | int -}}
  {{- $hash = printf "%s%s" (substr $digit (add $digit 1 | int) "0123456789abcdefghijklmnopqrstuv") $hash -}}
  {{- $bits = div $bits 32 -}}
{{- end -}}
{{- printf "runjob-%s-%s" (regexReplaceAll "[^a-z0-9]" (lower .group) "-") $hash -}}
{{- end -}}
{{- end -}}

{{/* The names of all Leases in this cluster, as JSON in {"names": …}. */}}
{{- define "runjob.leaseNames" -}}
{{- $names := list -}}
{{- $group := include "runjob.group" . -}}
{{- range (include "runjob.scopes" . | fromJson).scopes -}}
  {{- $names = append $names (include "runjob.leaseName" (dict "group" $group "namespaces" .)) -}}
{{- end -}}
{{- dict "names" ($names | uniq) | toJson -}}
{{- end -}}
