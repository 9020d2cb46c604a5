//go:build unix

package kafkatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Secure is a way in with TLS, by a certificate of its own that is in CAFile, and with SASL: PLAIN, and SCRAM-SHA-256 once
// somebody has set the password there, too.
type Secure struct{ User, Password string }

// SecureAddr returns the host:port of Config.Secure.
func (b *Broker) SecureAddr() string { return b.ports.Addr(2) }

// CAFile returns the path of what to trust at SecureAddr.
func (b *Broker) CAFile() string { return b.file("pem") }

// properties returns the server's file: small, quick to elect and to notice who is gone, and nothing is created by accident.
func (b *Broker) properties() (string, error) {
	n := strconv.Itoa(b.cfg.brokers)
	isr := strconv.Itoa(b.cfg.brokers/2 + 1)
	advertise := b.cfg.Advertise
	if advertise == "" {
		advertise = b.Addr()
	}
	session := "3000"
	if b.cfg.brokers == 1 {
		session = "1500" // for that long a lone broker that was killed waits before it takes its own place
	}
	p := map[string]string{
		"process.roles":                            "broker,controller",
		"node.id":                                  strconv.Itoa(b.cfg.id),
		"controller.quorum.voters":                 b.cfg.voters,
		"controller.listener.names":                "CONTROLLER",
		"controller.quorum.election.timeout.ms":    "500",
		"controller.quorum.fetch.timeout.ms":       "1000",
		"broker.session.timeout.ms":                session,
		"broker.heartbeat.interval.ms":             "300",
		"listeners":                                "PLAINTEXT://" + b.Addr() + ",CONTROLLER://" + b.ports.Addr(1),
		"advertised.listeners":                     "PLAINTEXT://" + advertise,
		"listener.security.protocol.map":           "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL",
		"inter.broker.listener.name":               "PLAINTEXT",
		"log.dirs":                                 b.data(),
		"auto.create.topics.enable":                "false",
		"offsets.topic.replication.factor":         n,
		"offsets.topic.num.partitions":             "4",
		"transaction.state.log.replication.factor": n,
		"transaction.state.log.min.isr":            isr,
		"transaction.state.log.num.partitions":     "4",
		"min.insync.replicas":                      isr,
		"replica.lag.time.max.ms":                  "5000",
		"group.initial.rebalance.delay.ms":         "0",
		"group.min.session.timeout.ms":             "1000",
		"group.share.enable":                       "false",
		"num.network.threads":                      "2",
		"num.io.threads":                           "4",
		"background.threads":                       "2",
		"log.cleaner.dedupe.buffer.size":           "4194304",
		"log.index.size.max.bytes":                 "1048576",
		"socket.request.max.bytes":                 "33554432",
	}
	if s := b.cfg.Secure; s != nil {
		chain, key, err := b.certificate()
		if err != nil {
			return "", err
		}
		p["listeners"] += ",SECURE://" + b.SecureAddr()
		p["advertised.listeners"] += ",SECURE://" + b.SecureAddr()
		p["listener.name.secure.ssl.keystore.type"] = "PEM"
		p["listener.name.secure.ssl.keystore.certificate.chain"] = oneLine(chain)
		p["listener.name.secure.ssl.keystore.key"] = oneLine(key)
		p["listener.name.secure.sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256"
		p["listener.name.secure.plain.sasl.jaas.config"] = fmt.Sprintf(
			"org.apache.kafka.common.security.plain.PlainLoginModule required user_%s=%q;", s.User, s.Password)
		p["listener.name.secure.scram-sha-256.sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	}
	maps.Copy(p, b.cfg.Properties)
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s=%s\n", k, p[k])
	}
	return text.String(), nil
}

func oneLine(pem string) string { return strings.ReplaceAll(strings.TrimSpace(pem), "\n", `\n`) }

// certificate makes one that signs itself and lasts for a day.
func (b *Broker) certificate() (chain, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kafka"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	chain = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	return chain, key, os.WriteFile(b.CAFile(), []byte(chain), 0o600)
}
