//go:build unix

package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

func (a *app) explainCommand() *cobra.Command {
	var service, lang string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain [--service SERVICE] [--lang en|zh] [--json] ID | last",
		Short: "Say in plain words why a call failed, or took so long",
		Long: `Says what happened to a call: which instances there were and why one was picked, each attempt and what came of it, what the
retry budget, the throttle and the deadline had to say, and what could be done about it.

ID is that of a trace or of a span, or the beginning of one, as "holdfast trace" and the log lines of services have it; "last"
is the last call that failed.`,
		Example: `  holdfast explain last
  holdfast explain --service orders last
  holdfast explain 4bf92f3577b3
  holdfast explain --lang zh last`,
		Args:              exactly("ID"),
		ValidArgsFunction: a.completeTraces(func() control.TraceQuery { return control.TraceQuery{Status: control.TraceError, Service: service} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch lang {
			case "en", "zh":
			case "":
				lang = a.lang()
			default:
				return usage("--lang takes en or zh, not %q", lang)
			}
			if service != "" && args[0] != lastTrace {
				return usage("--service goes with last, not with an ID")
			}
			c := a.client()
			defer c.Close()
			id, err := a.traceID(cmd.Context(), c, args[0], control.TraceQuery{Status: control.TraceError, Service: service})
			if err != nil {
				return err
			}
			e, err := c.Explain(cmd.Context(), id, lang)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(e)
			}
			columns := noLimit
			if a.out.Redraw {
				columns, _ = terminal.Size(a.Out)
			}
			for _, line := range a.explanation(e, columns) {
				a.printf("%s", line)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&service, "service", "", "with last: the last one that went through `SERVICE`")
	cmd.Flags().StringVar(&lang, "lang", "", "en or zh; by default as the locale has it (LC_ALL, LC_MESSAGES, LANG)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object with title, verdict, lines, advice and more")
	_ = cmd.RegisterFlagCompletionFunc("service", a.completeServices)
	_ = cmd.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions([]string{"en", "zh"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// lang is the language of the locale, of those there are.
func (a *app) lang() string {
	for _, key := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} { // the order is POSIX's
		if v := a.Getenv(key); v != "" {
			if strings.HasPrefix(v, "zh") {
				return "zh"
			}
			break
		}
	}
	return "en"
}

// explanation is laid out so that the answer is read first: what it is about, why, then the story, then what to do.
func (a *app) explanation(e control.Explanation, columns int) []string {
	lines := []string{a.out.Paint(terminal.Bold, terminal.Clean(e.Title)), ""}
	style := terminal.Yellow
	switch e.Status {
	case control.TraceError:
		style = terminal.Red
	case control.TraceOK:
		style = terminal.Green
	}
	for _, l := range wrap(terminal.Clean(e.Verdict), columns) {
		lines = append(lines, a.out.Paint(style, l))
	}
	if len(e.Lines) > 0 {
		lines = append(lines, "")
	}
	var widest int
	for _, l := range e.Lines {
		widest = max(widest, len(since(l.At)))
	}
	for _, l := range e.Lines {
		at := since(l.At)
		indent := strings.Repeat(" ", 2*min(max(0, l.Level), 12))
		head := strings.Repeat(" ", widest-len(at)) + a.out.Paint(terminal.Dim, at) + "  " + indent
		text := terminal.Clean(l.Text)
		if l.Bad {
			text = a.out.Glyph("✗", "x") + " " + text
		}
		body := wrap(text, columns-widest-2-len(indent))
		for n, part := range body {
			if n > 0 {
				head = strings.Repeat(" ", widest+2) + indent
			}
			if l.Bad {
				part = a.out.Paint(terminal.Red, part)
			}
			lines = append(lines, head+part)
		}
	}
	if len(e.Advice) > 0 {
		lines = append(lines, "")
	}
	for _, advice := range e.Advice {
		for n, part := range wrap(terminal.Clean(advice), columns-2) {
			mark := a.out.Glyph("→", ">") + " "
			if n > 0 {
				mark = "  "
			}
			lines = append(lines, mark+part)
		}
	}
	return append(lines, "", a.out.Paint(terminal.Dim, a.name+" trace "+short12(terminal.Clean(e.Trace))))
}

// since is when something happened, after the start: "+12ms".
func since(at time.Duration) string {
	if at <= 0 {
		return "+0ms"
	}
	return "+" + latency(at)
}

// wrap breaks text into lines of at most so many columns: between words, and where no words are set apart, as in Chinese,
// between characters. A word that is longer is broken.
func wrap(text string, columns int) []string {
	columns = max(columns, 20)
	var lines []string
	line, width := "", 0
	flush := func() {
		lines = append(lines, strings.TrimRight(line, " "))
		line, width = "", 0
	}
	for _, word := range words(text) {
		w := 0
		for _, r := range word {
			w += runeColumns(r)
		}
		if width+w > columns && width > 0 && strings.TrimSpace(word) != "" {
			flush()
		}
		if strings.TrimSpace(word) == "" && (width == 0 && len(lines) > 0 || width == columns) {
			continue
		}
		for _, r := range word {
			if width+runeColumns(r) > columns {
				flush()
			}
			line += string(r)
			width += runeColumns(r)
		}
	}
	if strings.TrimSpace(line) != "" || len(lines) == 0 {
		flush()
	}
	return lines
}

// words cuts text into what may not be broken: words, single wide characters, and the blanks between.
func words(text string) []string {
	var out []string
	word := ""
	flush := func() {
		if word != "" {
			out = append(out, word)
		}
		word = ""
	}
	for _, r := range text {
		switch {
		case r == ' ':
			flush()
			out = append(out, " ")
		case runeColumns(r) == 2 && !strings.ContainsRune("，。；：、？！）」』", r): // those never begin a line
			flush()
			word = string(r)
		default:
			word += string(r)
		}
	}
	flush()
	return out
}

// runeColumns is 2 for what East Asian scripts take, and 1 for all else (UAX 11, of what our phrases can have).
func runeColumns(r rune) int {
	if r >= 0x1100 && r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 || r >= 0xf900 && r <= 0xfaff ||
		r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6 || r >= 0x20000 && r <= 0x3fffd {
		return 2
	}
	return 1
}
