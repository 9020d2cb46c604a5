package sight

import (
	"fmt"
	"strings"
	"time"
)

// The languages that explanations are in.
const (
	english = iota
	chinese
)

func language(lang string) (index int, name string) {
	if lang == "zh" || strings.HasPrefix(lang, "zh-") {
		return chinese, "zh"
	}
	return english, "en"
}

// phrases is all that explanations say, in English and in Chinese. Arguments are numbered, for the two put them in
// different orders.
var phrases = map[string][2]string{
	// titles: 1 what, 2 whose, 3 how long
	"title.ok":    {"%[1]s at %[2]s went well, in %[3]s", "%[2]s 的 %[1]s 成功，用时 %[3]s"},
	"title.error": {"%[1]s at %[2]s failed with %[4]s, after %[3]s", "%[2]s 的 %[1]s 失败（%[4]s），用时 %[3]s"},
	"title.dead":  {"%[1]s at %[2]s was answered in %[3]s, but a message that came of it was given up", "%[2]s 的 %[1]s 用 %[3]s 得到回答，但由此产生的一条消息被放弃"},

	// verdicts of what went well
	"ok.plain":   {"It went well at the first try, in %[1]s: %[2]s.", "一次成功，用时 %[1]s：%[2]s。"},
	"ok.retried": {"It went well in the end: %[1]s did not answer the call to %[2]s (%[3]s), and at try %[4]d %[5]s did.", "最终成功：调用 %[2]s 时 %[1]s 没有给出好的回答（%[3]s），第 %[4]d 次尝试由 %[5]s 回答。"},
	"ok.below":   {"It went well in the end, at try %[1]d of the call to %[2]s, which %[3]s answered. What was in the way: %[4]s", "最终成功：对 %[2]s 的第 %[1]d 次尝试由 %[3]s 回答。之前的障碍：%[4]s"},
	"ok.waited":  {"It went well in the end: %[1]s knew of no instance of %[2]s, waited for one for %[3]s, and then %[4]s answered.", "最终成功：%[1]s 起初找不到 %[2]s 的实例，等待 %[3]s 之后由 %[4]s 回答。"},
	"ok.hedgewon": {
		"It went well: %[1]s had not answered after %[2]s, so %[3]s was asked as well, and its answer came first.",
		"成功：%[1]s 在 %[2]s 内没有回答，于是同时询问了 %[3]s，后者先回答。",
	},
	"ok.hedgelost": {
		"It went well: %[1]s had not answered after %[2]s, so %[3]s was asked as well, but %[1]s answered first after all.",
		"成功：%[1]s 在 %[2]s 内没有回答，于是同时询问了 %[3]s，但仍是 %[1]s 先回答。",
	},
	"ok.slow":       {"It went well, but it took %[1]s. Most of that, %[2]s, went by %[3]s.", "成功，但用了 %[1]s。其中大部分（%[2]s）花在%[3]s。"},
	"ok.coped":      {"It went well, although a call to %[1]s failed with %[2]s on the way: %[3]s coped without it.", "成功，尽管途中对 %[1]s 的一次调用失败（%[2]s）：%[3]s 没有它也完成了。"},
	"ok.message":    {"The message was handled by %[1]s at attempt %[2]d: %[3]s.", "消息由 %[1]s 在第 %[2]d 次尝试时处理成功：%[3]s。"},
	"ok.known":      {"What is known of it went well, in %[1]s; some of it is not known.", "已知的部分成功，用时 %[1]s；还有一部分未知。"},
	"took.attempts": {"nobody else has told of it; attempts: %[1]d", "没有别的服务报告参与，尝试次数：%[1]d"},
	"took.part":     {"%[1]d services took part, in %[2]d attempts", "共有 %[1]d 个服务参与，%[2]d 次尝试"},
	"ok.unseen":     {"It went well, in %[1]s, but not at the first try: %[2]s made %[3]d attempts of the call to %[4]s, and not all of them are known.", "成功，用时 %[1]s，但不是一次成功：%[2]s 对 %[4]s 尝试了 %[3]d 次，其中有的情况未知。"},
	"ok.bumpy":      {"It went well in the end, in %[1]s, although something failed on the way: %[3]s at %[2]s, with %[4]s.", "最终成功，用时 %[1]s，尽管途中有失败：%[2]s 的 %[3]s，%[4]s。"},
	"ok.replayed":   {"It went well in the end: the message on %[1]s that %[2]s had made a dead letter was handled by %[3]s when it came again.", "最终成功：%[1]s 上曾被 %[2]s 转为死信的消息，再次投递时由 %[3]s 处理成功。"},
	"took.others":   {"calls of its own making, of which nobody else has told: %[1]d", "它用其他方式发出的调用，没有别的服务报告：%[1]d"},
	"took.nobody":   {"it called nobody", "它没有调用别的服务"},

	// verdicts of what failed: the cause
	"fail.drill":       {"A drill did this: %[1]s had to fail calls on purpose. Nothing else is known to be wrong there.", "这是演练所为：%[1]s 被有意安排让调用失败，此外没有已知的问题。"},
	"fail.shed":        {"%[1]s is overloaded: %[2]s turned the call away%[3]s.", "%[1]s 过载：%[2]s 拒绝了调用%[3]s。"},
	"fail.quota":       {"The tenant has used up its share of %[1]s: %[2]s turned the call away.", "租户用完了在 %[1]s 的配额：%[2]s 拒绝了调用。"},
	"fail.late":        {"%[2]s turned the call away, for it could not have been done before its deadline%[3]s.", "%[2]s 拒绝了调用，因为在截止时间之前已无法完成%[3]s。"},
	"fail.throttle":    {"%[1]s did not send the call: %[2]s refuses most calls, and the throttle of %[1]s holds back what would be refused.", "%[1]s 没有发出调用：%[2]s 拒绝了大多数调用，%[1]s 的节流器拦下了注定被拒的请求。"},
	"fail.bulkhead":    {"%[1]s did not send the call: it has as many calls to %[2]s under way as it may.", "%[1]s 没有发出调用：它对 %[2]s 的并发调用数已达上限。"},
	"fail.ratelimit":   {"%[1]s did not send the call: it has made as many a second to %[2]s as it may.", "%[1]s 没有发出调用：它每秒对 %[2]s 的调用数已达上限。"},
	"fail.breaker":     {"%[1]s did not send the call: its breaker for %[2]s is open, since calls to it fail too often.", "%[1]s 没有发出调用：由于失败过多，它对 %[2]s 的熔断器已打开。"},
	"fail.budget":      {"It was not tried again: the retry budget of %[1]s for %[2]s is used up, since too many calls to it fail.", "没有再次尝试：%[1]s 对 %[2]s 的重试预算已用完，因为失败的调用太多。"},
	"fail.noinstance":  {"%[1]s knew of no instance of %[2]s that it could call.", "%[1]s 找不到可以调用的 %[2]s 实例。"},
	"fail.unreachable": {"%[2]s of %[1]s could not be reached; the call never got there.", "无法连接 %[1]s 的 %[2]s；调用没有到达那里。"},
	"fail.broken":      {"The connection to %[2]s of %[1]s broke while it had the call: it may have done it.", "%[1]s 的 %[2]s 处理调用时连接中断：它可能已经执行。"},
	"fail.timeout":     {"%[2]s of %[1]s did not answer within %[3]s.", "%[1]s 的 %[2]s 在 %[3]s 内没有回答。"},
	"fail.silent":      {"%[2]s of %[1]s had not answered after %[3]s, when there was no more time.", "%[1]s 的 %[2]s 在 %[3]s 后仍未回答，时间已用完。"},
	"fail.deadline":    {"The time ran out%[1]s. Most of it, %[2]s, went by %[3]s.", "时间用完%[1]s。其中大部分（%[2]s）花在%[3]s。"},
	"fail.business":    {"%[2]s of %[1]s answered %[3]s: %[4]s. That is an answer, not a failure of the system.", "%[1]s 的 %[2]s 回答 %[3]s：%[4]s。这是业务上的答复，不是系统故障。"},
	"fail.fault":       {"%[2]s of %[1]s failed at it with %[3]s: %[4]s.", "%[1]s 的 %[2]s 处理失败，%[3]s：%[4]s。"},
	"fail.canceled":    {"Whoever asked for it went away before it was done.", "请求方在完成之前离开了。"},
	"fail.dead":        {"The message on %[1]s could not be handled: after attempt %[3]d %[2]s made it a dead letter.", "%[1]s 上的消息无法处理：第 %[3]d 次尝试之后 %[2]s 将其转为死信。"},
	"fail.unknown":     {"It failed with %[1]s: %[2]s.", "失败，%[1]s：%[2]s。"},
	"fail.oneof":       {"%[1]s failed with %[2]s after more than one call of it had failed: %[3]s. It is one of these; which one cannot be told.", "%[1]s 失败（%[2]s），此前它的多个调用失败：%[3]s。原因是其中之一，无法判断是哪一个。"},
	"fail.maybe":       {"Before that a call failed: %[1]s. That may be why, or have nothing to do with it.", "此前有调用失败：%[1]s。可能是原因，也可能无关。"},
	"fail.unseen":      {"%[1]s gave up on %[2]s after %[3]d attempts, with %[4]s: %[5]s. What became of the last attempt is not known.", "%[1]s 对 %[2]s 尝试 %[3]d 次后放弃，%[4]s：%[5]s。最后一次尝试的情况未知。"},
	"fail.some":        {"Of %[1]d attempts, these are known to have failed: %[2]s.", "共 %[1]d 次尝试，已知失败的有：%[2]s。"},
	"fail.attempts":    {"All %[1]d attempts failed: %[2]s.", "%[1]d 次尝试全部失败：%[2]s。"},
	"fail.unsafe":      {"It was not tried again, for it may have been done and is not declared safe to repeat.", "没有再次尝试：它可能已经执行，又没有声明可以安全重复。"},
	"fail.panic":       {"All instances of %[1]s that are known were ejected as sick (%[2]s), so they were tried all the same.", "%[1]s 的已知实例都因异常被摘除（%[2]s），所以仍然尝试了它们。"},
	"fail.way":         {"The way there: %[1]s.", "经过：%[1]s。"},
	"do.thaw":          {"%[1]s was frozen: `holdfast thaw %[1]s` if it still is (`holdfast ps`).", "%[1]s 曾被冻结：若仍是（`holdfast ps`），可 `holdfast thaw %[1]s`。"},
	"do.died":          {"Look at why %[1]s died: `holdfast logs %[1]s`.", "查看 %[1]s 为何退出：`holdfast logs %[1]s`。"},
	"event.gone":       {"(%[1]s.)", "（%[1]s。）"},
	"fault.beside":     {"At that time a drill was on, which may have nothing to do with it: %[1]s.", "当时正在演练，可能与此无关：%[1]s。"},
	"fault.touched":    {"At that time a drill was on: %[1]s.", "当时正在演练：%[1]s。"},

	// where time goes by
	"time.work":     {"in %[1]s, at its own work", "%[1]s 自身的处理上"},
	"time.queue":    {"waiting to be let in at %[1]s", "等待 %[1]s 接纳上"},
	"time.untold":   {"in %[1]s or on the way there and back; it has told nothing of it", "%[1]s 中或往返途中（它没有报告）"},
	"time.unseen":   {"on attempts of %[1]s to call %[2]s of which nothing is known", "%[1]s 对 %[2]s 的未知尝试上"},
	"time.silent":   {"waiting for %[1]s, which did not answer", "等待没有回答的 %[1]s 上"},
	"time.backoff":  {"in %[1]s, waiting before it tried again", "%[1]s 重试前的等待上"},
	"time.network":  {"on the way between %[1]s and %[2]s, or before %[2]s began", "%[1]s 与 %[2]s 之间的路上，或 %[2]s 开始处理之前"},
	"of.deadline":   {" (%[1]s)", "（%[1]s）"},
	"with.inflight": {" (%[1]d calls in flight, its limit is %[2]d)", "（进行中 %[1]d 个，上限 %[2]d）"},
	"after.waiting": {" after %[1]s in its queue", "（排队 %[1]s 之后）"},

	// steps
	"step.call":         {"%[1]s asks %[2]s for %[3]s", "%[1]s 向 %[2]s 请求 %[3]s"},
	"step.left":         {", with %[1]s left", "，剩余时间 %[1]s"},
	"step.begin":        {"%[1]s is asked for %[2]s", "%[1]s 收到请求 %[2]s"},
	"step.try":          {"try %[1]d: %[2]s", "第 %[1]d 次尝试：%[2]s"},
	"step.hedge":        {"try %[1]d, beside the one before: %[2]s", "第 %[1]d 次尝试（与前一次并行）：%[2]s"},
	"step.nobody":       {"nobody", "无实例"},
	"step.waited":       {", after waiting %[1]s", "，等待 %[1]s 之后"},
	"step.chosen":       {" (%[1]s; of %[2]d)", "（%[1]s；共 %[2]d 个）"},
	"step.ejected":      {"; left alone as sick: %[1]s", "；因异常被摘除：%[1]s"},
	"step.by":           {": %[1]s", "：%[1]s"},
	"step.ok":           {" → answered after %[1]s", " → %[1]s 后回答"},
	"step.bad":          {" → %[1]s after %[2]s", " → %[2]s 后 %[1]s"},
	"step.lost":         {" → not needed any more after %[1]s: another answer had come", " → %[1]s 后不再需要：另一个回答已经到了"},
	"step.letgo":        {" → let go after %[1]s, before it had answered", " → %[1]s 后放弃等待，尚未回答"},
	"step.notsent":      {"; it did not get there", "；没有到达"},
	"step.maybe":        {"; it may have been done", "；可能已经执行"},
	"step.gaveup":       {"%[1]s gives up: %[2]s", "%[1]s 放弃：%[2]s"},
	"step.tokens":       {"; %[1]s in the retry budget", "；重试预算剩 %[1]s"},
	"step.admitted":     {"%[1]s lets it in%[2]s", "%[1]s 接纳%[2]s"},
	"step.refused":      {"%[1]s turns it away%[2]s", "%[1]s 拒绝%[2]s"},
	"step.failed":       {"%[1]s fails at it: %[2]s", "%[1]s 处理失败：%[2]s"},
	"step.done":         {"%[1]s answers after %[2]s", "%[1]s 用 %[2]s 完成"},
	"step.publish":      {"%[1]s publishes on %[2]s", "%[1]s 发布到 %[2]s"},
	"step.publish.bad":  {"%[1]s cannot publish on %[2]s: %[3]s", "%[1]s 无法发布到 %[2]s：%[3]s"},
	"step.handle":       {"%[1]s handles the message of %[2]s, attempt %[3]d", "%[1]s 处理 %[2]s 的消息，第 %[3]d 次"},
	"step.handled":      {": done after %[1]s", "：%[1]s 后完成"},
	"step.again":        {": %[1]s; it comes again", "：%[1]s；将再次投递"},
	"step.unhandled":    {": %[1]s", "：%[1]s"},
	"step.back":         {": it goes back, for the instance stops or another has it", "：退回，因为实例正在停止或另一实例已在处理"},
	"step.dead":         {": %[1]s; it is a dead letter now", "：%[1]s；成为死信"},
	"step.work":         {"%[1]s: %[2]s, %[3]s", "%[1]s：%[2]s，%[3]s"},
	"step.work.bad":     {"%[1]s: %[2]s → %[3]s", "%[1]s：%[2]s → %[3]s"},
	"step.event":        {"meanwhile: %[1]s", "同时：%[1]s"},
	"step.event.before": {"%[2]s before: %[1]s", "%[2]s 之前：%[1]s"},
	"step.more":         {"%[1]d more steps are not shown", "还有 %[1]d 步未显示"},
	"step.incomplete":   {"Not all is known: %[1]s", "信息不完整：%[1]s"},
	"step.skew":         {"the clock of %[1]s is wrong by about %[2]s; times are corrected", "%[1]s 的时钟约偏差 %[2]s；时间已校正"},

	// what is missing
	"gap.partly":   {"its beginning was dropped, for the store is full", "开头部分已被丢弃，因为存储已满"},
	"gap.spans":    {"%[1]d spans above these are missing: %[2]s", "缺少这些步骤的上级（%[1]d 个）：%[2]s"},
	"gap.silent":   {"nothing came from %[1]s about what was asked of it", "%[1]s 没有报告它被请求做的事"},
	"gap.tries":    {"%[1]d attempts of calls are missing: %[2]s", "缺少 %[1]d 次调用尝试：%[2]s"},
	"gap.running":  {"it may not be over yet", "可能尚未结束"},
	"gap.dropped":  {"%[1]d spans more than is kept of one trace", "超过单条追踪保留上限 %[1]d 个步骤"},
	"gap.died":     {"what it had seen may be lost: %[1]s", "它所见可能已丢失：%[1]s"},
	"gap.settling": {"it may still come", "可能稍后到达"},
	"gap.sampled":  {"it may not have been sampled, or its process does not export", "可能没有被采样，或其进程没有导出"},

	// advice
	"do.drill":      {"Nothing to mend: it ends with the drill. `holdfast events` says which faults are in force.", "无需修复：演练结束即恢复。`holdfast events` 可查看正在生效的故障。"},
	"do.shed":       {"Give %[1]s more instances (`holdfast scale %[1]s N`), or find what slows it down: #/calls, slow ones of %[1]s.", "为 %[1]s 增加实例（`holdfast scale %[1]s N`），或查看是什么拖慢了它：#/calls 中 %[1]s 的慢调用。"},
	"do.quota":      {"Raise the tenant's quota in the policy of %[1]s if that is too little.", "若配额过小，请在 %[1]s 的策略中调高该租户的配额。"},
	"do.throttle":   {"Look at why %[1]s refuses: its instances in `holdfast ps`, its failed calls. The throttle opens by itself as soon as it accepts again.", "查看 %[1]s 为何拒绝：`holdfast ps` 中的实例和失败的调用。它恢复接受后节流器会自动放开。"},
	"do.limit":      {"If the limit is too low, raise it in the policy of %[1]s (`holdfast policy`).", "若上限过低，请在 %[1]s 的策略中调高（`holdfast policy`）。"},
	"do.breaker":    {"Look at why %[1]s fails; the breaker closes by itself when trial calls go well.", "查看 %[1]s 为何失败；试探调用成功后熔断器会自动关闭。"},
	"do.noinstance": {"See whether %[1]s runs and is ready: `holdfast ps`, `holdfast logs %[1]s`.", "确认 %[1]s 是否在运行并就绪：`holdfast ps`、`holdfast logs %[1]s`。"},
	"do.instance":   {"Look at %[1]s: `holdfast logs %[1]s`, and `holdfast restart %[1]s` if it hangs.", "查看 %[1]s：`holdfast logs %[1]s`；若卡住，可 `holdfast restart %[1]s`。"},
	"do.time":       {"Look at what %[1]s did in that time, in the waterfall and in `holdfast logs %[1]s`.", "在瀑布图和 `holdfast logs %[1]s` 中查看 %[1]s 这段时间在做什么。"},
	"do.queue":      {"%[1]s has more to do than it can: `holdfast scale %[1]s N`.", "%[1]s 的工作超过其能力：`holdfast scale %[1]s N`。"},
	"do.business":   {"Nothing to mend in the system; the request asked for what cannot be.", "系统无需修复；请求要求的事情做不到。"},
	"do.fault":      {"The error is of the service's own code: `holdfast logs %[1]s`, around this time.", "错误来自服务自身的代码：查看 `holdfast logs %[1]s` 中这段时间的日志。"},
	"do.dead":       {"Mend the cause, then replay it: `holdfast queue replay`, or #/queues.", "修复原因后重放：`holdfast queue replay` 或 #/queues。"},
	"do.unsafe":     {"If it is safe to repeat, declare it: idempotency_level in the proto file, or an idempotency key.", "若可以安全重复，请声明：proto 文件中的 idempotency_level，或使用幂等键。"},
	"do.wait":       {"Ask again in a few seconds, when the rest has come.", "几秒后再查看，其余部分可能到达。"},
	"do.ejected":    {"`holdfast events` says why they were ejected; they are tried again by themselves.", "`holdfast events` 说明它们为何被摘除；它们会自动被再次试用。"},
}

// vocabulary is what other packages say in English words, in Chinese.
var vocabulary = map[string]string{
	"of two at random, the one with the lower latency × calls in flight": "随机两个中延迟×进行中调用数较低者",
	"of those probed, the fastest that is not busy":                      "探测过的实例中最快且不忙者",
	"its turn": "轮到它",
	"of two at random, the one with fewer calls in flight": "随机两个中进行中调用较少者",
	"its place on the ring, by the key of the call":        "按调用的键在哈希环上的位置",
	"by the client's own picker":                           "由客户端自己的选择器决定",
	"ejected, and tried with this call":                    "已被摘除，用这次调用试探",
	"the only candidate":                                   "唯一的候选",
	"there was no candidate":                               "没有候选",
	"none was picked":                                      "没有选中任何实例",
	"in the same zone":                                     "在同一区域",
	"done":                                                 "完成",
	"another attempt would fail alike":                     "再试一次也会同样失败",
	"not declared safe to repeat":                          "没有声明可以安全重复",
	"attempts used up":                                     "尝试次数用完",
	"too little time left":                                 "剩余时间太少",
	"retry budget empty":                                   "重试预算用完",
	"asked to come back later":                             "被要求稍后再来",
	"canceled":                                             "已取消",
	"the service is overloaded":                            "服务过载",
	"held back by the throttle":                            "被节流器拦下",
	"too many calls under way":                             "进行中的调用太多",
	"rate limit reached":                                   "达到速率上限",
	"breaker open":                                         "熔断器打开",
	"unsent":                                               "未送达",
	"no instance":                                          "没有实例",
	"unavailable":                                          "不可用",
	"connection broken":                                    "连接中断",
	"attempt timeout":                                      "尝试超时",
	"deadline exceeded":                                    "超过截止时间",
	"exhausted":                                            "资源耗尽",
	"shed":                                                 "过载拒绝",
	"local":                                                "本地拒绝",
	"overdue":                                              "逾期",
	"fault":                                                "故障",
	"aborted":                                              "竞争失败",
	"denied":                                               "无权限",
	"refused":                                              "被拒绝",
}

// say is a phrase with its arguments. Durations are written for people.
func say(lang int, key string, args ...any) string {
	words := phrases[key][lang]
	for i, a := range args {
		if d, ok := a.(time.Duration); ok {
			args[i] = human(d)
		}
	}
	if len(args) == 0 {
		return words
	}
	return fmt.Sprintf(words, args...)
}

// word is an expression of another package.
func word(lang int, text string) string {
	if lang == english {
		return text
	}
	if zh, ok := vocabulary[text]; ok {
		return zh
	}
	if head, tail, ok := strings.Cut(text, ", in the same zone"); ok && tail == "" {
		return word(lang, head) + "，" + vocabulary["in the same zone"]
	}
	return text
}

// human writes a duration with two or three digits.
func human(d time.Duration) string {
	switch {
	case d < 0:
		return "0 ms"
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.3f ms", float64(d)/float64(time.Millisecond))
	case d < 10*time.Millisecond:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)), ".0") + " ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 10*time.Second:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second).Seconds()))
	}
	return d.Round(time.Second).String()
}
