package kubernetes_test

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/kubernetes"
	"github.com/holdfast-go/holdfast/platform/system"
)

// TestNoSecretIsWritten: neither what looks like one in the environment nor the content of a file.
func TestNoSecretIsWritten(t *testing.T) {
	_, out := export(t, "elastic")
	for _, secret := range []string{"hunter2", "s3cr3t", "/home/me"} {
		if strings.Contains(out, secret) {
			t.Errorf("%q is in what was written", secret)
		}
	}
	_, out = export(t, "shop")
	if strings.Contains(out, "/home/me") {
		t.Error("a path of the machine that exports is in what was written")
	}
}

// exportOne exports a system of one service with an environment, and returns that as the types of Kubernetes read it, and
// everything that was written and noted.
func exportOne(t tb, env map[string]string) (map[string]corev1.EnvVar, string) {
	t.Helper()
	sys := &system.System{Name: "s", Services: []system.Service{{Name: "n", Run: "./n", Replicas: 2, Serves: []string{system.GRPC}, Env: env}}}
	e, err := kubernetes.New(sys, kubernetes.Options{Image: "{service}", Registry: "etcd://e:2379", Queue: "none"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := e.Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, doc := range strings.Split(out.String(), "\n---\n") {
		if !strings.Contains(doc, "\nkind: Deployment\n") {
			continue
		}
		pod := podOf(decode(t, doc))
		if pod.Labels["app.kubernetes.io/name"] != "n" {
			t.Fatal(doc)
		}
		read := make(map[string]corev1.EnvVar)
		for _, v := range pod.Spec.Containers[0].Env {
			read[v.Name] = v
		}
		return read, out.String() + strings.Join(e.Notes, "\n")
	}
	t.Fatal("no Deployment in", out.String())
	return nil, ""
}

// TestWhatLooksLikeASecret: by its name or by its value it is taken from a Secret; what does not is written.
func TestWhatLooksLikeASecret(t *testing.T) {
	const hidden = "hunter2"
	secrets := map[string]string{
		"SMTP_PASS": hidden, "STRIPE_KEY": hidden, "PGPASSWORD": hidden, "DB_PWD": hidden, "DBPASSWORD_1": hidden, "GITHUB_TOKEN": hidden, "KEY": hidden,
		"CLIENTSECRET": hidden, "DB_URL": "postgres://u:hunter2@h/db", "CACHE": "redis://:hunter2@h:6379/0", "BROKERS": "amqp://a,amqp://u:hunt/er2@h",
		"MYSQL": "u:hunter2@tcp(h:3306)/db", "LIBPQ": "host=h user=u password=hunter2", "LINK": "https://h/?a=b&access_token=hunter2",
		"JDBC": "jdbc:mysql://h/db?user=u&password=hunter2", "HEADER": "Bearer hunter2", "PEM": "-----BEGIN EC PRIVATE KEY-----\nhunter2",
	}
	plain := map[string]string{
		"GREETING": "hi: you", "KEYBOARD": "qwerty", "COMPASS": "north", "PASSENGERS": "3", "UPSTREAM": "http://h:8080/users/x", "TOPIC": "orders.paid",
		"ADDR": "[::1]:9090", "FROM": "shop@example.com", "DB_HOST": "postgres://h:5432/db?sslmode=disable", "AUTHOR": "me",
	}
	env := maps.Clone(plain)
	maps.Copy(env, secrets)
	read, all := exportOne(t, env)
	if strings.Contains(all, hidden) || strings.Contains(all, "hunt/er2") {
		t.Error("a secret is in what was written")
	}
	for key := range secrets {
		if from := read[key].ValueFrom; from == nil || from.SecretKeyRef.Key != key || from.SecretKeyRef.Name != "s-n" {
			t.Errorf("%s: %+v", key, read[key])
		}
		if !strings.Contains(all, "--from-literal="+key+"=…") {
			t.Errorf("nobody says that %s has to be in the Secret", key)
		}
	}
	for key, value := range plain {
		if read[key].Value != value {
			t.Errorf("%s=%q: %+v", key, value, read[key])
		}
	}
}

func TestCommandsWithSecrets(t *testing.T) {
	sys := &system.System{Name: "s", Services: []system.Service{{Name: "a", Run: "./a --db postgres://me:hunter2@h/db", Replicas: 1}}}
	_, err := kubernetes.New(sys, kubernetes.Options{Image: "{service}", Registry: "etcd://e:2379", Queue: "none"})
	if failure.CodeOf(err) != failure.InvalidArgument || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "a: what it runs has credentials") {
		t.Errorf("%v", err)
	}
}
