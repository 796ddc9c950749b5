use super::*;

#[test]
fn probe() {
    let yaml = "# c\n---\napiVersion: portcullis/v1\nkind: VirtualKey\nmetadata: { name: a }\nspec:\n  principal: {kind: agent, subject: 5}\n  zone: Foo\n  budgets: []\n  grants:\n    - bundle: x\n      allow: [a]\n    - nope: 1\n---\n---\nkind: TrustZone\napiVersion: portcullis/v1\nmetadata: {name: z, labels: {a: no}}\nspec: { audit: durable, foo: 1 }\n---\napiVersion: portcullis/v1\nkind: McpServer\nmetadata:\n  name: z\nspec:\n  transport:\n    sse: {url: x}\n  limits: {timeout: 5}\n  tools:\n    overrides:\n    - name: x\n      approval: per-call\n";
    for p in parse(&[SourceFile { name: "f.yaml", text: yaml }]).unwrap_err() {
        println!("{p}");
    }
    for text in [
        "a: b: c",
        "a: 1\na: 2",
        "{\"a\": \"\\ud83d\\ude00\", \"b\":\t1}",
        "{\n\t\"a\": 1\n}",
        "a: &x [1]\nb: *x\nc: *y",
        "a: !foo 1",
        "- [",
        "a: .nan",
        "1: x",
        "{\"a\":1}\n{\"b\":2}",
        "? [1]\n: 2",
    ] {
        println!("{text:?} -> {:?}", tree::read(&SourceFile { name: "f.yaml", text }));
    }
}
