//! Chat templates: Jinja as transformers runs it, and templates that would hang, fill the memory or break the line.

use candle_core::quantized::gguf_file::Value;
use laprox_experiments::metrics::Metric;
use laprox_experiments::model::Model;
use laprox_experiments::tasks::{Facets, Prompt};

use super::synthetic::{EOS, Synthetic};

fn model(template: &str) -> Model {
    let mut model = Synthetic::new("llama");
    model.set("tokenizer.ggml.bos_token_id", Value::U32(EOS));
    model.set("tokenizer.chat_template", Value::String(template.to_owned()));
    model.load().unwrap()
}

fn rendered(template: &str, message: &str) -> String {
    model(template).chat().render(message).unwrap_or_else(|refusal| panic!("{template}: {refusal}"))
}

fn refusal(template: &str) -> String {
    let refusal = model(template).chat().render("Hello").unwrap_err().to_string();
    assert!(refusal.contains("tiny.gguf: chat template: "), "{refusal}");
    assert!(!refusal.chars().any(char::is_control) && refusal.len() < 1000, "{refusal:?}");
    refusal
}

/// The expected texts are those of Jinja2 as transformers sets it up.
#[test]
fn templates_render_as_in_transformers() {
    let message = "one <b> two</think> 'é' ";
    for (template, expected) in [
        ("{{ messages[0]['content'].strip() }}!", "one <b> two</think> 'é'!"),
        ("{{ messages[0].content.split('</think>')[-1].lstrip() }}", "'é' "),
        ("{{ messages[0]['content'].startswith('one') }}", "True"),
        ("{{ messages[0].get('content') }}{{ messages[0].get('name') }}", "one <b> two</think> 'é' None"),
        ("{% for key, value in messages[0].items() %}{{ key }};{% endfor %}", "role;content;"),
        ("{% for key in messages[0].keys() %}{{ key }};{% endfor %}", "role;content;"),
        ("{{ ', '.join(['a', 'b']) }}", "a, b"),
        ("{{ 'x=%s' | format(1) }} {{ '12345: {:>4}'.format(2) }}", "x=1 12345:    2"),
        (
            "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "02",
        ),
        ("{% generation %}a{% endgeneration %}\n{%- generation -%} b {%- endgeneration -%} c", "abc"),
        ("{% if tools is not none or documents is not none %}a{% else %}b{% endif %}", "b"),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "1",
        ),
        ("{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}", "<|end|><|end|>True"),
        ("{{ messages | tojson }}", r#"[{"role": "user", "content": "one <b> two</think> 'é' "}]"#),
        ("{{ {'b': [1, 2.5], 'a': none, 'c': {}} | tojson }}", r#"{"b": [1, 2.5], "a": null, "c": {}}"#),
        ("{{ {'b': [1], 'a': []} | tojson(indent=2) }}", "{\n  \"b\": [\n    1\n  ],\n  \"a\": []\n}"),
        ("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", r#"[1,{"a":2}]"#),
        (r#"{{ 'a"\\u003c\n' | tojson(ensure_ascii=false) }}"#, r#""a\"\\u003c\n""#),
        ("  {% if true %}\n  a\n  {% endif %}\n", "  a\n"),
    ] {
        assert_eq!(rendered(template, message), expected, "{template}");
    }
}

#[test]
fn a_template_may_ask_for_the_date() {
    let date = rendered("{{ strftime_now('%d %b %Y') }}", "");
    let parts: Vec<&str> = date.split(' ').collect();
    assert!(
        matches!(parts[..], [day, month, year] if day.len() == 2 && month.len() == 3 && year.starts_with("20")),
        "{date}"
    );
}

#[test]
fn refusals_of_a_template_are_one_line() {
    assert!(refusal(r"{{ raise_exception('a\nb\x1b[2J') }}").contains(r"a\nb\u{1b}[2J"));
    assert!(refusal("{{ raise_exception('x' * 100000) }}").contains("x [..] x"));
    assert!(refusal("{% if %}").contains("syntax error"));
    assert!(refusal("\n\n{{ messages.nothing() }}").contains("(in template:3)"));
}

#[test]
fn templates_that_ask_for_too_much_are_refused() {
    let nested =
        "{% set ns = namespace(x=0) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
    for template in [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}xxxxxxxx{% endfor %}{% endfor %}",
        "{% macro f(x) %}{% if x > 0 %}{{ f(x-1) }}{{ f(x-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set ns = namespace(s='xxxx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{{ 'x' * 100000000 }}",
        "{{ 'x\n' | indent(100000000000) }}",
        "{{ '%99999999999d' | format(1) }}",
        &format!("{nested}{{{{ ns.x | tojson }}}}"),
    ] {
        let refusal = refusal(template);
        assert!(
            refusal.contains("takes more than 200005 steps") || refusal.contains("out of fuel"),
            "{refusal}"
        );
    }
    for (template, expected) in [
        ("{{ '{:>99999999999}'.format(1) }}", "expected widths up to 256"),
        ("{{ [1] | tojson(indent=99999999999) }}", "expected an indent up to 256 or two"),
        ("{{ strftime_now('%Y' * 1000) }}", "expected a format up to 256 bytes"),
        (&" ".repeat(65_537), "expected at most 65536 bytes, found 65537"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion limit"),
        ("{% include 'x' %}", "template not found"),
    ] {
        let refusal = refusal(template);
        assert!(refusal.contains(expected), "{refusal} against {expected}");
    }
}

/// Chains that the engine compiles by recursion, as long as a template may be.
#[test]
fn long_chains_do_not_overflow_the_stack() {
    for link in [".b", "-", "not ", "|list", "[1]", "()", "(", "[", " if 1", "+1"] {
        let chain = link.repeat(65_000 / link.len());
        let (before, after) =
            if "-([".contains(link) || link == "not " { (chain.as_str(), "1") } else { ("a", &*chain) };
        let _ = model(&format!("{{{{ {before}{after} }}}}")).chat().render("Hello");
    }
}

fn prompt(context: &str) -> Prompt {
    Prompt {
        id: "id".to_owned(),
        context: context.to_owned(),
        question: "Q?".to_owned(),
        answer_prefix: String::new(),
        chat: true,
        max_new_tokens: 1,
        references: Vec::new(),
        metric: Metric::QaF1,
        facets: Facets { context_len: 1, depth: None, sample: 0, truncated: false },
    }
}

#[test]
fn a_prompt_keeps_its_text_and_nothing_else() {
    let twice = "<{{ messages[0].content }}|{{ messages[0].content }}>";
    for (template, context, expected) in [
        ("<{{ messages[0].content }}>", "text", ["<text", "Q?>"]),
        ("<{{ messages[0].content }}>", "a\u{fdd0}b\u{fdd1}", ["<a\u{fdd0}b\u{fdd1}", "Q?>"]),
        (twice, "text", ["<textQ?|text", "Q?>"]),
    ] {
        let rendered = prompt(context).render(model(template).chat()).unwrap();
        assert_eq!([rendered.context, rendered.question], expected);
    }
    assert!(prompt("text").render(model("{{ messages[0].content | length }}").chat()).is_err());
}

#[test]
fn a_model_without_a_template_reads_plain_text() {
    let model = Synthetic::new("llama").load().unwrap();
    assert!(!model.chat().exists());
    let rendered = prompt("text").render(model.chat()).unwrap();
    assert_eq!([rendered.context, rendered.question], ["text", "Q?"]);
}
