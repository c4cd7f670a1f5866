// Package kubecheck tests what is in deploy/kubernetes.
//
// It promises that kustomize makes of each folder what Kubernetes' own types take, without an unknown field, that the parts
// fit each other, and that the pods meet the restricted Pod Security Standard. What Fluent Bit and duo_in make of the
// configurations is tested in internal/docs.
//
// It is a module of its own, so that what it needs does not become a dependency of duo_in.
package kubecheck
