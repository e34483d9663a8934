use proptest::prelude::*;

use super::*;

fn problem(text: &str) -> String {
    text.parse::<Expectation>().expect_err(text).to_string()
}

#[test]
fn an_expectation_is_a_metric_an_operator_and_a_value() {
    for (text, shown) in [
        ("lost=0", "lost=0"),
        (" connections  >=  3 ", "connections>=3"),
        ("db:5432 connections=1", "db:5432 connections=1"),
        ("[2001:db8::1]:443 endedBy!=proxy", "[2001:db8::1]:443 endedBy!=proxy"),
        ("turns.wait.max<=300ms", "turns.wait.max<=300ms"),
        ("limitedBy != network-upstream", "limitedBy!=network-upstream"),
        ("received<10MiB", "received<10MiB"),
    ] {
        assert_eq!(text.parse::<Expectation>().unwrap().to_string(), shown);
    }
}

#[test]
fn what_is_no_expectation_says_what_is_wrong_and_what_there_is() {
    for (text, said) in [
        ("", "it has no operator"),
        ("lost", "in quotes because of the shell's < and >"),
        ("=0", "METRIC OPERATOR VALUE"),
        ("a b lost=0", "METRIC OPERATOR VALUE"),
        ("los=0", "unknown metric 'los'; the metrics are connections, failed, resets, lost, "),
        ("Lost=0", "unknown metric 'Lost'"),
        ("db lost=0", "'db' is not a valid target: the port is missing"),
        ("db:0 lost=0", "'db:0' is not a valid target"),
        ("lost==0", "'==' is not an operator"),
        ("lost=<0", "'=<' is not an operator"),
        ("lost=", "lost: '' is not a number"),
        ("lost=-1", "lost: '-1' is not a number"),
        ("lost=1k", "lost: '1k' is not a number"),
        ("connect.max<50", "connect.max: '50' is not a time; expected one with its unit"),
        ("connect.max=50ms", "connect.max: a time is compared with <, <=, > or >="),
        ("sent<1mb", "sent: '1mb' is not a size"),
        ("endedBy=server", "not one of its values: client, upstream, proxy, resolver, network"),
        ("outcome<ok", "outcome: a word is compared with = or !="),
        ("outcome=OK", "'OK' is not one of its values: ok, dns, "),
    ] {
        assert!(problem(text).contains(said), "{text}: {}", problem(text));
    }
}

#[test]
fn what_was_probably_meant_is_shown_as_it_is_written() {
    let two = "several expectations in it; write --expect 'lost=0' --expect 'resets=0'";
    let of_target = "write --expect 'db:1 lost=0' --expect 'db:1 connect.max<5ms'";
    for (text, said) in [
        ("lost=0 and resets=0", two),
        ("lost=0,resets=0", two),
        ("lost=0, resets=0", two),
        ("lost = 0 resets = 0", two),
        ("lost=0 && resets=0", two),
        ("db:1 lost=0 and connect.max<5ms", of_target),
        ("db:1 lost=0, db:1 connect.max<5ms", of_target),
        ("lost=0 and los=0", "several expectations in it; repeat --expect for each"),
        (
            "*:8800 lost=0",
            "'*:8800' is not one target: write HOST:PORT as it was requested, an --expect for each, or only 'lost=0' for all",
        ),
        ("*.example:443 lost=0", "'*.example:443' is not one target"),
        ("https://api.example/x?a=b lost=0", "not a URL; write 'api.example:443 lost=0'"),
        ("http://me:s3cret@[::1]:81 lost = 0", "not a URL; write '[::1]:81 lost = 0'"),
        ("http://[::1]/ lost=0", "write '[::1]:80 lost=0'"),
        ("postgres://db/x lost=0", "write 'db:PORT lost=0'"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(said) && !problem.contains("s3cret"), "{text}: {problem}");
    }
}

/// A text that is an expectation on this metric.
fn written(metric: &'static Metric) -> impl Strategy<Value = (Operator, String)> {
    let operators = OPERATORS.map(|(operator, _)| operator);
    let is_equality =
        |operator: &Operator| matches!(operator, Operator::Equal | Operator::NotEqual);
    let (operators, values): (Vec<_>, BoxedStrategy<String>) = match metric.unit() {
        value::Unit::Count => (operators.to_vec(), "[0-9]{1,9}".boxed()),
        value::Unit::Bytes => (operators.to_vec(), "[0-9]{1,6}(B|kB|MiB|GB)?".boxed()),
        value::Unit::Time => (
            operators.into_iter().filter(|operator| !is_equality(operator)).collect(),
            "[1-9][0-9]{0,3}(ns|(\\.[0-9]{1,3})?(us|µs|ms|s|m|h))".boxed(),
        ),
        value::Unit::Word(words) => (
            operators.into_iter().filter(is_equality).collect(),
            proptest::sample::select(words()).boxed(),
        ),
    };
    (proptest::sample::select(operators), values)
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_and_what_is_parsed_reads_back(
        text in "(\\PC{0,12} )?([a-z0-9A-Z.]{0,12}|lost|endedBy|connect.max)[=!<>]{0,3}\\PC{0,12}",
    ) {
        if let Ok(expectation) = text.parse::<Expectation>() {
            prop_assert_eq!(expectation.to_string().parse::<Expectation>(), Ok(expectation));
        }
    }

    #[test]
    fn what_is_written_is_what_is_expected(
        (metric, (operator, value)) in proptest::sample::select(METRICS.iter().collect::<Vec<_>>())
            .prop_flat_map(|metric| (Just(metric), written(metric))),
        target in proptest::option::of("[a-z]{1,8}(\\.[a-z]{1,8})?:[1-9][0-9]{0,3}"),
        blank in " {0,2}",
    ) {
        let before = target.as_ref().map_or(String::new(), |target| format!("{target} "));
        let text = format!("{blank}{before}{}{blank}{operator}{blank}{value}{blank}", metric.name);
        let expectation: Expectation = text.parse().unwrap();
        prop_assert_eq!(&expectation.metric, &metric);
        prop_assert_eq!(expectation.operator, operator);
        prop_assert_eq!(expectation.value.word(), &value);
        prop_assert_eq!(expectation.target.map(|target| target.to_string()), target);
    }

    /// What is said of a sum that may still grow is true however much it grows.
    #[test]
    fn what_holds_from_a_known_part_on_holds_for_every_sum(
        known in 0_u64..20, more in 0_u64..20, expected in 0_u64..20,
    ) {
        for (operator, _) in OPERATORS {
            if let Some(holds) = operator.holds_from(known, expected) {
                prop_assert_eq!(operator.holds(&(known + more), &expected), holds, "{}", operator);
            }
        }
    }
}
