//! The phrases by which a definition speaks to a model behind the user's back. English only: a table that people read and
//! extend, each rule with what it says of the text it stands on.
//!
//! A rule is `high` where no honest definition says so, for `high` is what a rule of a server does not approve by itself.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::finding::{Code, Severity};
use super::phrases::Phrases;

/// One rule.
pub(super) struct Rule {
    pub(super) code: Code,
    pub(super) severity: Severity,
    pub(super) says: &'static str,
    phrases: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        code: Code::InstructionOverride,
        severity: Severity::High,
        says: "It tells the model to set other instructions aside.",
        phrases: &[
            "ignore|disregard|forget|neglect|discard ~4 previous|prior|above|earlier|preceding|existing|original|your|system ~3 instruction|instructions|prompt|prompts|guideline|guidelines|directive|directives|guardrails|safeguards",
            "ignore|disregard|forget|neglect|discard ~3 all|any|other|these|those ~2 instruction|instructions|guidelines|guardrails|safeguards",
            "override|bypass|supersede|overrule|circumvent ~3 previous|prior|earlier|your|safety|these|all ~2 instruction|instructions|guideline|guidelines|directives|guardrails|safeguards",
            "ignore|disregard|forget|override|bypass|circumvent ~3 your|previous|prior|earlier|safety ~2 rules|policies|restrictions|training|constraints",
            "ignore|disregard|forget ~3 everything|anything ~3 above|before|previously|told|said",
            "ignore|disregard|override ~2 the user|users|operator ~2 instructions|instruction|request|wishes|preferences|choice|question",
            "NOT follow|obey ~4 user|users|operator|system ~2 instructions|instruction|requests|prompt",
            "your new|real|actual|true|secret|hidden ~1 instructions|task|goal|objective|role|mission|instruction",
            "you are now ~3 assistant|agent|dan|admin|administrator|root|unrestricted|jailbroken|mode",
            "jailbreak|unrestricted|god|dan mode enabled|activated|on|active",
            "from now on ~2 you ~1 will|must|should|are|shall",
            "reveal|print|output|repeat|return|leak|dump|disclose|expose|send|append|pass|include|copy ~3 your ~2 system|developer|hidden|initial prompt|prompts|instructions|message",
            "regardless of ~2 user|users ~2 request|requests|instruction|instructions|wishes|preference|preferences|says|asks|asked|wants",
        ],
    },
    Rule {
        code: Code::InstructionSecrecy,
        severity: Severity::High,
        says: "It tells the model to keep something from the user.",
        phrases: &[
            "NOT ~2 tell|telling|inform|informing ~3 user|users|human|humans|customer|anyone|anybody|operator",
            "NOT ~2 mention|mentioning|reveal|revealing|disclose|disclosing|explain|explaining|admit ~8 to ~1 user|users|human|humans|customer|anyone|anybody|operator",
            "NOT ~1 mention|reveal|disclose|discuss|acknowledge ~1 this|these ~1 step|steps|instruction|instructions|tool|action|note|parameter|behavior|behaviour|process|requirement",
            "NOT mention|mentioning|disclose|discuss|acknowledge it|that|this ~1 to|in|when|at",
            "NOT ~1 let|allow ~1 user|users|human|anyone ~1 know|notice|find|learn|realize",
            "hide|conceal ~6 from the user|human|operator",
            "keep ~5 hidden|secret|invisible from ~1 user|users|human",
            "user|users|human|operator must|should|shall not ~2 know|notice|suspect|realize|aware",
            "so ~1 user|users|human ~2 wont|not|never|doesnt ~1 notice|know|suspect|realize",
            "secretly|covertly|surreptitiously|stealthily ~3 sends|forwards|copies|reads|includes|passes|uploads|calls|runs|posts|records|stores|writes|sent|forwarded|copied|send|forward|copy|read|include|pass|append|upload|call|run|execute|add|bcc|redirect|post|log|record|exfiltrate|collect|use|store|write",
            "user|users ~3 get|becomes|become ~1 upset|suspicious|scared|worried",
        ],
    },
    Rule {
        code: Code::InstructionSecrecy,
        severity: Severity::Warn,
        says: "It speaks of doing something without anybody noticing.",
        phrases: &[
            "NOT ~2 notify|notifying|alert|alerting|warn|warning|show|showing|display|displaying ~4 the user|human|operator",
            "silently|quietly ~3 sends|forwards|uploads|copies|posts|submits|sent|forwarded|send|forward|upload|exfiltrate|bcc|copy|post|submit|transmit|append",
            "keep this|it|that ~1 secret|confidential|hidden|quiet|invisible",
            "without ~2 asking|requesting|seeking ~3 confirmation|permission|consent|approval",
            "NOT ~2 ask ~3 confirmation|permission|consent|approval",
            "even if|when|though the user ~4 says|objects|declines|refuses|denies|forbids|disagrees",
        ],
    },
    Rule {
        code: Code::InstructionPrecedence,
        severity: Severity::High,
        says: "It claims to come before, or instead of, all other tools.",
        phrases: &[
            "before|prior ~3 any|every|all|each other ~2 tool|tools|function|functions",
            "before|prior ~1 to ~2 using|calling|invoking|running|executing ~1 any|every|each|all|other ~1 tool|tools|function|functions",
            "before ~1 using|use|calling|invoking|running|executing ~1 any|every|each|all|other ~1 tool|tools|function|functions",
            "before|after ~1 every|each ~1 tool|function call|calls|use|invocation",
            "instead of ~2 any|every|all ~1 other ~2 tool|tools|function|functions",
            "all|every|any other tools|tool|functions ~2 must|should|are|is|will ~3 deprecated|disabled|ignored|broken|unsafe|compromised|obsolete|forbidden",
            "this|tool|rule|instruction ~2 overrides|supersedes|replaces ~3 all|any|every ~1 other|previous|existing ~1 tool|tools|instruction|instructions|rules",
        ],
    },
    Rule {
        code: Code::InstructionPrecedence,
        severity: Severity::Warn,
        says: "It asks the model to use it more than a user would.",
        phrases: &[
            "always ~1 call|use|invoke|run|execute ~5 every|each|any|all|whenever ~3 message|messages|request|requests|response|responses|answer|answers|reply|turn|conversation|call|calls|prompt|prompts|question|questions",
            "must|always|should ~2 called|used|invoked|run|executed ~3 every|each|any ~2 message|request|response|answer|reply|turn|prompt|question|call",
            "NOT ~1 use|call|invoke|trust ~2 any|other|another ~2 tool|tools|server|servers",
            "takes|has|have ~2 priority|precedence over ~4 tool|tools|instructions|instruction|server|servers",
            "this tool ~4 only ~2 trusted|safe|approved|official ~1 tool|one|way",
            "instead of ~1 other ~2 tool|tools|server|servers",
            "before ~1 any|every|all|each other ~1 action|actions|call|calls|step",
        ],
    },
    Rule {
        code: Code::InstructionPrecedence,
        severity: Severity::Info,
        says: "It says when to call it.",
        phrases: &[
            "always ~1 call|use|invoke|run|execute",
            "must ~2 call|use|invoke|run|called|used|invoked ~6 before|first",
        ],
    },
    Rule {
        code: Code::RoleTalk,
        severity: Severity::Warn,
        says: "It addresses the model as such.",
        phrases: &[
            "note|notice|reminder|attention ~1 to|for ~2 ai|llm|llms|assistant|claude|gpt|chatgpt|copilot|gemini|agents",
            "as an ai|llm ~2 model|assistant|agent|you",
            "ai|llm|claude|chatgpt ~1 must|shall ~6 always|never|not|first|also|ignore|call|read|send",
            "system override|directive",
            "admin|administrator|developer override|directive",
            "reveal|repeat|leak|dump|disclose ~2 system|developer prompt|prompts|message",
        ],
    },
    Rule {
        code: Code::AsksForSecrets,
        severity: Severity::High,
        says: "It asks for what is in a file that holds secrets.",
        phrases: &[
            "read|cat|send|paste|attach|upload|contents|content|append|copy|exfiltrate|leak|forward|dump|include|base64|encode|reading ~8 .ssh|.aws|.gnupg|.npmrc|.netrc|.pgpass|.pypirc|.kube|.cursor|.bash",
            "read|cat|send|paste|attach|upload|contents|content|append|copy|exfiltrate|leak|forward|dump|include|base64|encode|reading|from ~8 id rsa|ed25519|ecdsa|dsa",
            "read|cat|send|paste|attach|upload|contents|content|append|copy|exfiltrate|leak|forward|dump|include|base64|encode|reading|from ~8 etc passwd|shadow|sudoers",
            "read|cat|send|paste|attach|upload|contents|content|append|copy|exfiltrate|leak|forward|dump|include|reading ~8 mcp json",
            "read|cat|send|paste|attach|upload|contents|content|append|copy|exfiltrate|leak|forward|dump|include|reading ~8 claude desktop config",
            "contents|content|paste|send|attach|upload|exfiltrate|leak|forward|dump ~6 .env",
        ],
    },
    Rule {
        code: Code::AsksForSecrets,
        severity: Severity::High,
        says: "It asks the model to hand over credentials.",
        phrases: &[
            "paste|send|forward|append|attach|collect|gather|extract|exfiltrate|harvest|dump|leak|steal ~5 users|user|your|all|any|every|their|its ~4 password|passwords|passphrase|credential|credentials|apikey|secrets",
            "paste|send|forward|append|attach|collect|gather|extract|exfiltrate|harvest|dump|leak|steal ~6 api|private|ssh|access|secret|signing key|keys",
            "paste|send|forward|append|attach|collect|gather|exfiltrate|harvest|dump|leak|steal|upload ~6 access|auth|api|bearer|session|refresh|github|oauth token|tokens",
            "paste|send|forward|exfiltrate|harvest|leak|steal ~6 environment variables",
            "paste|send|forward|append|attach|collect|gather|exfiltrate|harvest|dump|leak|steal|upload|include ~6 seed|recovery phrase",
        ],
    },
    Rule {
        code: Code::AsksForSecrets,
        severity: Severity::Warn,
        says: "It names a file that holds secrets.",
        phrases: &[
            ".ssh|.aws|.gnupg|.npmrc|.netrc|.pgpass|.pypirc|.kube",
            ".bash history",
            "id rsa|ed25519|ecdsa|dsa",
            "etc passwd|shadow|sudoers",
            "claude desktop config",
            ".git credentials",
            ".docker config",
            "wallet dat",
        ],
    },
    Rule {
        code: Code::AsksForSecrets,
        severity: Severity::Warn,
        says: "It asks for a credential in an argument.",
        phrases: &[
            "ask|include|provide|pass|supply|give|put|add|enter|submit|share|reveal|request|obtain|get|fill ~5 users|user|your|their ~4 password|passphrase|credential|credentials|apikey|secret|secrets",
            "ask|include|provide|pass|supply|give|put|enter|submit|share|reveal|request|obtain|fill ~5 api|private|ssh|secret key|keys",
            "ask|include|provide|pass|supply|give|put|enter|submit|share|reveal|request|obtain|fill ~5 access|auth|api|bearer|session|refresh|oauth token|tokens",
        ],
    },
    Rule {
        code: Code::AsksForContext,
        severity: Severity::High,
        says: "It asks the model to read files and pass on what is in them.",
        phrases: &[
            "read|open|cat|load ~6 file|files|document|documents|config|configuration ~8 pass|send|include|attach|append|forward|put|provide|paste|add ~4 content|contents|text|it",
            "pass|send|attach|append|forward|paste|put ~3 content|contents ~6 as|in|into ~2 sidenote|scratchpad|feedback|context|metadata|notes",
        ],
    },
    Rule {
        code: Code::AsksForContext,
        severity: Severity::Warn,
        says: "It asks for the conversation, or for what else the model knows.",
        phrases: &[
            "pass|send|provide|put|append|attach|copy|paste|summarize|forward|insert ~6 conversation|chat|dialog|dialogue|session ~1 history|transcript|log|context",
            "the|our|this|your|current ~1 conversation|chat ~1 history|transcript|so|context",
            "full|entire|whole|complete ~2 conversation|chat|context ~1 so|window|here|verbatim|with",
            "verbatim ~4 conversation|chat|context|messages|history",
            "list|names|descriptions|schemas|definitions ~1 of ~2 tools|functions ~3 you|your",
            "all|every|any ~2 previous|prior|other ~1 tool|tools ~1 results|outputs|calls|responses|output|result",
            "everything|anything ~1 you ~1 know|remember ~2 about|user",
        ],
    },
    Rule {
        code: Code::RunsCode,
        severity: Severity::High,
        says: "It holds a command that fetches a program and runs it.",
        phrases: &[
            "curl|wget ~2 http|https ~14 sh|bash|zsh",
            "base64 d|decode ~3 sh|bash|eval",
            "nc e|lvp ~3 bin|sh|bash",
        ],
    },
    Rule {
        code: Code::RunsCode,
        severity: Severity::Warn,
        says: "It holds a command.",
        phrases: &["curl|wget ~2 http|https", "rm rf|fr", "chmod 777"],
    },
];

/// Words that make a mention of another tool more than a mention.
const STEERING: &str = "before|instead|always|must|never|first|whenever|prior|after|dont|deprecated|replaces|also|required|ignore";
/// Words that carry something away.
const SENDING: &str = "send|sent|forward|forwarded|upload|post|bcc|cc|copy|redirect|redirected|exfiltrate|transmit|deliver|report|submit|recipient|recipients|email|emails|mail";
/// Words that make a wish an order.
const ORDERS: &str = "always|must|never|also|instead|all|every|secretly|silently";
/// Words before an example.
const SUCH_AS: &str = "example|eg|such|format|like";

/// The rules with their phrases, ready to be found.
pub(super) struct Book {
    pub(super) phrases: Phrases,
    pub(super) steering: HashSet<u16>,
    pub(super) sending: HashSet<u16>,
    pub(super) orders: HashSet<u16>,
    pub(super) such_as: HashSet<u16>,
}

/// The one book.
pub(super) static BOOK: LazyLock<Book> = LazyLock::new(|| {
    let mut phrases = Phrases::default();
    for (at, rule) in RULES.iter().enumerate() {
        for phrase in rule.phrases {
            phrases.add(phrase, at);
        }
    }
    let mut ids = |words: &str| words.split('|').map(|word| phrases.know(word)).collect();
    let (steering, sending, orders, such_as) = (ids(STEERING), ids(SENDING), ids(ORDERS), ids(SUCH_AS));
    Book { phrases, steering, sending, orders, such_as }
});

impl Book {
    /// The rule of a match.
    pub(super) fn rule(&self, at: usize) -> Option<&'static Rule> {
        RULES.get(at)
    }
}
