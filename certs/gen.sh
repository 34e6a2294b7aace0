#!/bin/sh
# Makes the certificates of an installation without cert-manager. See README.md beside this file.
set -eu

usage() {
	cat <<'END'
usage: certs/gen.sh [--out DIR] [--ca DIR] [--cluster-ip IP]

Makes a certificate authority, the serving certificate of sheetanchor, the client certificate that
kube-scheduler shows, and a kustomize component that installs them. Overwrites nothing.

  --out DIR        where to, a directory that does not exist yet (default: out, beside this script)
  --ca DIR         sign with the authority in DIR, made by an earlier run, instead of making one
  --cluster-ip IP  clusterIP of the Service, as in manifests/base/service.yaml (default: 10.96.0.94)
END
}

fail() {
	printf 'gen.sh: %s\n' "$1" >&2
	exit 1
}

out= ca= cluster_ip=10.96.0.94
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help)
		usage
		exit 0
		;;
	--out | --ca | --cluster-ip) [ $# -ge 2 ] && [ -n "$2" ] || fail "$1 needs a value" ;;
	*) fail "no such option: $1; see --help" ;;
	esac
	case $1 in
	--out) out=$2 ;;
	--ca) ca=$2 ;;
	--cluster-ip) cluster_ip=$2 ;;
	esac
	shift 2
done
case $cluster_ip in
*[!0-9a-fA-F.:]*) fail "--cluster-ip: \"$cluster_ip\" is no IP address" ;;
esac

command -v openssl >/dev/null 2>&1 || fail "openssl is not installed"
[ -z "$ca" ] || [ -r "$ca/ca.key" ] || fail "--ca: no ca.key to be read in \"$ca\""
[ -n "$out" ] || out=$(cd "$(dirname "$0")" && pwd)/out
[ ! -e "$out" ] || fail "\"$out\" exists already, and nothing is overwritten; to rotate see README.md beside this script"

service=sheetanchor namespace=sheetanchor-system
# Renewing the authority means restarting kube-scheduler and, for a while, trusting two: it outlives
# many leaves. A leaf is renewed without either, and its key lies in a Secret: a year.
ca_days=3650 leaf_days=365

# Nobody ever sees half a set of files, or a key that others may read.
umask 077
work=$out.new.$$
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

run() {
	openssl "$@" 2>"$work/log" || {
		cat "$work/log" >&2
		fail "\"openssl $1\" failed, see above"
	}
}

# key NAME
key() {
	run genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/$1.key"
}

# sign NAME CN DAYS [SIGNER OPTIONS...]: extensions are read from standard input.
sign() {
	name=$1 cn=$2 days=$3
	shift 3
	cat >"$work/ext"
	printf '[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = %s\n' "$cn" >"$work/req"
	run req -new -sha256 -config "$work/req" -key "$work/$name.key" -out "$work/csr"
	run x509 -req -sha256 -in "$work/csr" -out "$work/$name.crt" -days "$days" -extfile "$work/ext" \
		-set_serial "0x1$(openssl rand -hex 15)" "$@"
}

if [ -n "$ca" ]; then
	cp "$ca/ca.crt" "$ca/ca.key" "$work"
else
	key ca
	sign ca "sheetanchor authority $(date -u +%Y-%m-%d)" "$ca_days" -signkey "$work/ca.key" <<'END'
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
END
fi

# leaf NAME CN: extensions are read from standard input.
leaf() {
	key "$1"
	{
		printf 'basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n'
		printf 'subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n'
		cat
	} | sign "$1" "$2" "$leaf_days" -CA "$work/ca.crt" -CAkey "$work/ca.key"
}

leaf tls "$service.$namespace.svc" <<END
extendedKeyUsage = serverAuth
subjectAltName = DNS:$service.$namespace.svc, DNS:$service.$namespace.svc.cluster.local, DNS:$service.$namespace, DNS:$service, DNS:localhost, IP:$cluster_ip, IP:127.0.0.1
END

leaf scheduler system:kube-scheduler <<'END'
extendedKeyUsage = clientAuth
END

# The authority reaches each webhook's caBundle from the Secret. The Secret's name ends in a hash of
# its content, so that new certificates roll the Deployment.
cat >"$work/kustomization.yaml" <<END
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
secretGenerator:
  - name: $service-tls
    namespace: $namespace
    type: kubernetes.io/tls
    files: [tls.crt, tls.key, ca.crt]
replacements:
  - source: {kind: Secret, name: $service-tls, fieldPath: "data.[ca.crt]"}
    targets:
      - select: {kind: MutatingWebhookConfiguration, name: $service}
        fieldPaths: [webhooks.*.clientConfig.caBundle]
        options: {create: true}
END

rm -f "$work/log" "$work/ext" "$work/req" "$work/csr"
mv "$work" "$out"

cat <<END
$out:
  ca.crt              the authority that API server and kube-scheduler trust
  ca.key              its key: keep it offline, only this script needs it
  tls.crt, tls.key    what sheetanchor serves with, for $leaf_days days
  scheduler.crt, .key what kube-scheduler shows, for $leaf_days days
  kustomization.yaml  a component: the Secret, and the webhook's caBundle

Next: name this directory under "components:" in your kustomization.yaml, then
  kubectl apply -k <the directory of that file>
and copy ca.crt, scheduler.crt and scheduler.key to /etc/kubernetes/sheetanchor on each control plane
node (see manifests/scheduler-config/README.md).
END
