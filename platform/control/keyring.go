package control

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const (
	maxTokens      = 64
	maxInvitations = 16
	maxSessions    = 64

	invitationTime = time.Hour
	sessionTime    = 24 * time.Hour
	tokenTime      = 24 * time.Hour

	// maxWrong is how many wrong tokens and codes are answered in wrongTime; further ones are told to wait. Right ones are not
	// held up by whoever guesses. There are 256 bits to guess: this is against noise, and to be told of.
	maxWrong  = 30
	wrongTime = time.Minute
)

// keyring has what lets people in. It keeps hashes of secrets, and
// compares each in constant time; the key of a session, which is void without its cookie, it has to tell again. The zero value lets
// nobody in. Safe for concurrent use.
type keyring struct {
	name string // of the cookie

	mu          sync.Mutex
	tokens      []key // the first is the system's own
	invitations []key // oldest first
	sessions    []session

	wrong      int // since wrongSince
	wrongSince time.Time
}

// key is a secret that gives a right until it is void.
type key struct {
	hash  [sha256.Size]byte
	right Right
	until time.Time     // zero: for as long as the system runs
	over  chan struct{} // closed when it is void before that
}

func newKey(secret string, right Right, until time.Time) key {
	return key{sha256.Sum256([]byte(secret)), right, until, make(chan struct{})}
}

type session struct {
	key
	Session
}

func newSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// find returns the place of secret, -1 if it is not among them or void. It takes as long for every secret.
func find[K any](secret string, among []K, of func(K) key) int {
	hash, now, found := sha256.Sum256([]byte(secret)), time.Now(), -1
	for i := range among {
		k := of(among[i])
		if subtle.ConstantTimeCompare(hash[:], k.hash[:]) == 1 && (k.until.IsZero() || now.Before(k.until)) {
			found = i
		}
	}
	return found
}

func itself(k key) key { return k }

// addToken makes a token that is void after tokenTime. The oldest of these is void when there are too many.
func (k *keyring) addToken(right Right) string {
	secret := newSecret()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.tokens) >= maxTokens {
		made := slices.IndexFunc(k.tokens, func(t key) bool { return !t.until.IsZero() })
		close(k.tokens[made].over)
		k.tokens = slices.Delete(k.tokens, made, made+1)
	}
	k.tokens = append(k.tokens, newKey(secret, right, time.Now().Add(tokenTime)))
	return secret
}

// putToken adds the system's own token, which holds as long as the system runs.
func (k *keyring) putToken(secret string, right Right) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tokens = append(k.tokens, newKey(secret, right, time.Time{}))
}

// invite makes a code that lets somebody in once. The oldest one is void when there are too many.
func (k *keyring) invite(right Right) (code string, until time.Time) {
	code, until = newSecret(), time.Now().Add(invitationTime)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.invitations) >= maxInvitations {
		k.invitations = k.invitations[1:]
	}
	k.invitations = append(k.invitations, newKey(code, right, until))
	return code, until
}

// login takes a code for a session and the secret in its cookie.
func (k *keyring) login(code string) (cookie string, s Session, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := find(code, k.invitations, itself)
	if i < 0 {
		if err := k.wrongOne(); err != nil {
			return "", Session{}, err
		}
		return "", Session{}, failure.New(failure.Unauthenticated, "this link was used already, or is too old; `holdfast console` makes a new one").
			WithReason(ReasonCode, Domain)
	}
	right := k.invitations[i].right
	k.invitations = append(k.invitations[:i:i], k.invitations[i+1:]...)
	if len(k.sessions) >= maxSessions {
		close(k.sessions[0].over)
		k.sessions = k.sessions[1:]
	}
	cookie = newSecret()
	s = Session{Right: right, Key: newSecret(), Until: time.Now().Add(sessionTime)}
	k.sessions = append(k.sessions, session{newKey(cookie, right, s.Until), s})
	return cookie, s, nil
}

func (k *keyring) logout(cookie string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := find(cookie, k.sessions, func(s session) key { return s.key }); i >= 0 {
		close(k.sessions[i].over)
		k.sessions = append(k.sessions[:i:i], k.sessions[i+1:]...)
	}
}

// grant is what the sender of a request may do, and for how long. The zero value is that of one who has not shown anything.
type grant struct {
	right Right
	by    *Session        // nil for a token
	until time.Time       // when it is void; zero: for as long as the system runs
	over  <-chan struct{} // closed if it is void before that; nil: it cannot be
}

// grantKey is the key of a request's grant in its context.
type grantKey struct{}

// who says what the sender of a request may do; a session that is over is nothing. A token that is none is an error.
func (k *keyring) who(r *http.Request) (grant, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if i := find(strings.TrimSpace(token), k.tokens, itself); i >= 0 && strings.EqualFold(scheme, "bearer") {
			t := k.tokens[i]
			return grant{right: t.right, until: t.until, over: t.over}, nil
		}
		if err := k.wrongOne(); err != nil {
			return grant{}, err
		}
		return grant{}, failure.New(failure.Unauthenticated, "the token is not one of this system").WithReason(ReasonToken, Domain)
	}
	c, err := r.Cookie(k.name)
	if err != nil {
		return grant{}, nil
	}
	if i := find(c.Value, k.sessions, func(s session) key { return s.key }); i >= 0 {
		s := k.sessions[i]
		return grant{right: s.Right, by: &s.Session, until: s.key.until, over: s.over}, nil
	}
	return grant{}, nil
}

// wrongOne counts one that was wrong, and is an error if there were too many. The caller holds mu.
func (k *keyring) wrongOne() error {
	now := time.Now()
	if now.Sub(k.wrongSince) > wrongTime {
		k.wrong, k.wrongSince = 0, now
	}
	if k.wrong++; k.wrong <= maxWrong {
		return nil
	}
	return failure.New(failure.ResourceExhausted, "too many wrong tokens").
		WithRetryAfter(k.wrongSince.Add(wrongTime).Sub(now))
}
