package kubecheck

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const root = "../../deploy/kubernetes"

// folders are those that kubectl apply -k takes, with the number of replicas in each.
var folders = map[string]int{"single": 1, "provider": 2}

// objects is what kustomize makes of a folder.
type objects struct {
	set     *appsv1.StatefulSet
	service *corev1.Service
	config  *corev1.ConfigMap
}

// build does what kubectl apply -k does, short of applying.
func build(t *testing.T, folder string) (o objects) {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range made.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		switch kind := r.GetKind(); kind {
		case "StatefulSet":
			o.set = decode[appsv1.StatefulSet](t, text)
		case "Service":
			o.service = decode[corev1.Service](t, text)
		case "ConfigMap":
			o.config = decode[corev1.ConfigMap](t, text)
		default:
			t.Errorf("%s: say in this test what a %s is", folder, kind)
		}
	}
	if o.set == nil || o.service == nil || o.config == nil {
		t.Fatalf("%s has not all of its parts: %+v", folder, o)
	}
	return o
}

// decode takes no field that the type does not have, and none twice.
func decode[T any](t *testing.T, text []byte) *T {
	t.Helper()
	v := new(T)
	if err := yaml.UnmarshalStrict(text, v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return v
}

func inEach(t *testing.T, test func(t *testing.T, o objects, replicas int)) {
	for folder, replicas := range folders {
		t.Run(folder, func(t *testing.T) { test(t, build(t, folder), replicas) })
	}
}

// TestRestricted asks what a namespace that enforces the restricted standard asks.
func TestRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	inEach(t, func(t *testing.T, o objects, _ int) {
		template := o.set.Spec.Template
		restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
		for _, r := range evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec) {
			if !r.Allowed {
				t.Errorf("%s: %s", r.ForbiddenReason, r.ForbiddenDetail)
			}
		}
		c := template.Spec.Containers[0]
		if s := c.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Error("the root file system is not read-only")
		}
		if s := template.Spec.SecurityContext; *s.RunAsUser != 65532 || *s.FSGroup != 65532 {
			t.Errorf("user %d, group of the volumes %d: want those of the image, 65532", *s.RunAsUser, *s.FSGroup)
		}
	})
}

// TestPartsFit holds names that have to be the same in several places.
func TestPartsFit(t *testing.T) {
	inEach(t, func(t *testing.T, o objects, replicas int) {
		spec, pod := o.set.Spec, o.set.Spec.Template
		if got := *spec.Replicas; int(got) != replicas {
			t.Errorf("%d replicas, want %d", got, replicas)
		}
		if spec.ServiceName != o.service.Name {
			t.Errorf("serviceName %q, the Service is %q", spec.ServiceName, o.service.Name)
		}
		selected := func(name string, s *metav1.LabelSelector) {
			selector, err := metav1.LabelSelectorAsSelector(s)
			if err != nil || selector.Empty() || !selector.Matches(labels.Set(pod.Labels)) {
				t.Errorf("the %s selects %v, the pods have %v: %v", name, selector, pod.Labels, err)
			}
		}
		selected("StatefulSet", spec.Selector)
		selected("Service", &metav1.LabelSelector{MatchLabels: o.service.Spec.Selector})
		text, err := os.ReadFile(filepath.Join(root, "single", "networkpolicy.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		selected("NetworkPolicy", &decode[networkingv1.NetworkPolicy](t, text).Spec.PodSelector)

		c := pod.Spec.Containers[0]
		volumes := map[string]bool{}
		for _, v := range pod.Spec.Volumes {
			volumes[v.Name] = true
			if v.ConfigMap != nil && v.ConfigMap.Name != o.config.Name {
				t.Errorf("volume %s is of ConfigMap %q, there is %q", v.Name, v.ConfigMap.Name, o.config.Name)
			}
		}
		if mode := *pod.Spec.Volumes[1].Secret.DefaultMode; mode != 0o440 { // what YAML makes of an octal number
			t.Errorf("the secret has mode %04o, want 0440", mode)
		}
		for _, v := range spec.VolumeClaimTemplates {
			volumes[v.Name] = true
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s is mounted, and there is no such volume", m.Name)
			}
		}
		for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			if probe == nil || probe.HTTPGet.Port.StrVal != c.Ports[0].Name {
				t.Errorf("the %s probe is not at port %s", name, c.Ports[0].Name)
			}
		}
		if got, want := o.service.Spec.Ports[0].TargetPort.StrVal, c.Ports[0].Name; got != want {
			t.Errorf("the Service's targetPort is %q, the container's port %q", got, want)
		}
	})
}

// TestConfigurations holds that each pod begins with a configuration that is there, and that the paths and the port in it
// are those of the pod.
func TestConfigurations(t *testing.T) {
	inEach(t, func(t *testing.T, o objects, replicas int) {
		c := o.set.Spec.Template.Spec.Containers[0]
		mounted := map[string]string{}
		for _, m := range c.VolumeMounts {
			mounted[m.Name] = m.MountPath
		}
		for n := range replicas {
			file := strings.ReplaceAll(c.Args[len(c.Args)-1], "$(POD_INDEX)", strconv.Itoa(n))
			dir, name := path.Split(file)
			config := o.config.Data[name]
			if path.Clean(dir) != mounted["config"] || config == "" {
				t.Errorf("replica %d begins with %s, mounted is %s with %d files", n, file, mounted["config"], len(o.config.Data))
			}
			if _, included, found := strings.Cut(config, "\n@INCLUDE "); found {
				config += o.config.Data[strings.TrimSpace(included)]
			}
			for _, want := range []string{
				"storage.path      " + mounted["state"] + "/",
				"checkpoint_dir    " + mounted["state"] + "\n",
				"secret_key_file   " + mounted["keys"] + "/secret_key\n",
				fmt.Sprintf("http_port         %d\n", c.Ports[0].ContainerPort),
				"http_listen       0.0.0.0\n",
			} {
				if !strings.Contains(config, "\n    "+want) {
					t.Errorf("replica %d: its configuration has no %q", n, want)
				}
			}
		}
	})
}

// TestOneReader holds that no account of the provider's is read by two replicas, and that the two folders differ in what
// makes the difference only.
func TestOneReader(t *testing.T) {
	o := build(t, "provider")
	reader := map[string]string{}
	for name, config := range o.config.Data {
		m := regexp.MustCompile(`(?m)^@SET accounts=(.+)$`).FindStringSubmatch(config)
		if m == nil {
			continue
		}
		for _, account := range strings.Split(m[1], ", ") {
			if reader[account] != "" {
				t.Errorf("%s is in %s and in %s", account, reader[account], name)
			}
			reader[account] = name
		}
	}
	if len(reader) != 4 {
		t.Errorf("%d accounts, want the 4 of the example: %v", len(reader), reader)
	}
	pipeline := func(config string) string {
		_, rest, _ := strings.Cut(config, "\n[SERVICE]")
		return strings.Replace(rest, "    accounts          ${accounts}\n", "", 1)
	}
	if single := build(t, "single").config.Data["duo_in.conf"]; pipeline(single) != pipeline(o.config.Data["duo_in.conf"]) {
		t.Error("single/duo_in.conf and provider/duo_in.conf differ in more than accounts")
	}
}
