//! The HTML report in a real browser: no errors, nothing inaccessible, filters without scripts.
//!
//! Needs Chromium; the audit also needs axe-core, which `scripts/fetch-axe` fetches. What is missing
//! is said, and not tested.

use std::path::Path;
use std::process::{Command, Output};

use lerianctl::isolation::model::Severity;
use lerianctl::isolation::render::{Format, render};
use lerianctl::isolation::report::Isolation;

use super::isolation_fleet::Fleet;
use super::support::skip;

/// The browser, by its name.
fn browser() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            let version = Command::new(name).arg("--version").output();
            version.is_ok_and(|output| output.status.success())
        })
}

/// Opens a page and returns the document after its scripts ran, and what the browser said.
fn open(browser: &str, folder: &Path, page: &str, options: &[&str]) -> Output {
    let file = folder.join("page.html");
    std::fs::write(&file, page).unwrap();
    let mut command = Command::new(browser);
    command
        .args([
            "--headless=new",
            "--disable-gpu",
            "--no-first-run",
            "--no-sandbox",
        ])
        .args([
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
            "--v=0",
        ])
        .args(["--virtual-time-budget=20000", "--window-size=1200,900"])
        .args(options)
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .arg("--dump-dom")
        .arg(format!("file://{}", file.display()))
        .env("HOME", folder);
    let output = command.output().expect("the browser starts");
    assert!(output.status.success(), "{output:?}");
    output
}

/// Lines in which the page's own console speaks.
fn console(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .map(ToOwned::to_owned)
        .collect()
}

/// A copy of the page that may run `script`, and writes what it returns into the document.
fn with_script(page: &str, head: &str, script: &str) -> String {
    let begin = page
        .find("<meta http-equiv")
        .expect("the page has a policy");
    let end = begin + page[begin..].find('>').unwrap() + 1;
    format!(
        "{}{head}{}<script>Promise.resolve((async()=>{{{script}}})()).then(answer=>{{\
         const out=document.createElement('script');out.type='text/plain';out.id='answer';\
         out.textContent=JSON.stringify(answer);document.body.append(out)}})</script>",
        &page[..begin],
        &page[end..]
    )
}

fn answer(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let begin = text
        .find("id=\"answer\">")
        .unwrap_or_else(|| panic!("no answer: {:?}", console(output)));
    let text = &text[begin + 12..];
    let text = &text[..text.find("</script>").unwrap()];
    serde_json::from_str(text).unwrap()
}

/// A report of a real fleet with a breach, spread over as many tenants as wanted.
fn spread(mut report: Isolation, tenants: usize) -> Isolation {
    let names: Vec<String> = (0..tenants).map(|n| format!("tenant-{n:03}")).collect();
    let findings = report.findings.clone();
    report.findings = (0..tenants)
        .flat_map(|n| {
            let mut finding = findings[n % findings.len()].clone();
            finding.severity = Severity::ALL[n % 4];
            finding.from = vec![names[n].clone()];
            finding.to = vec![
                names[(n * 7 + 1) % tenants].clone(),
                names[(n + 3) % tenants].clone(),
            ];
            [finding]
        })
        .collect();
    report.fleet.tenants = names;
    report
}

#[tokio::test]
async fn the_page_opens_without_errors_and_hides_what_is_not_wanted() {
    let Some(browser) = browser() else {
        skip("there is no Chromium: the HTML report was not opened in a browser");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::by_hand(false).await;
    let report = fleet.check().await;
    let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/axe-core-4.14.1/axe.min.js");
    for report in [report.clone(), spread(report, 200)] {
        let page = render(Format::Html, &report);
        assert!(page.len() < 1_000_000, "{} bytes", page.len());
        // As it is, under its own policy.
        let output = open(browser, folder.path(), &page, &[]);
        assert_eq!(console(&output), [""; 0]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("<svg"), "{text}");

        // Every box hides its findings, and only those.
        let boxes = with_script(
            &page,
            "",
            "const shown=()=>[...document.querySelectorAll('article')].filter(a=>a.checkVisibility());\
             const all=shown().length;const told=[];\
             for(const box of document.querySelectorAll('fieldset:first-of-type input')){\
             const word=box.id.slice(5);const own=document.querySelectorAll('article.is-'+word).length;\
             box.click();const left=shown();told.push(\
             [word,own,all-left.length,left.some(a=>a.classList.contains('is-'+word))]);box.click()}\
             return [all,shown().length,told]",
        );
        let told = answer(&open(browser, folder.path(), &boxes, &[]));
        assert_eq!(told[0], told[1], "{told}");
        assert_eq!(told[0], report.findings.len().min(300), "{told}");
        let boxes = told[2].as_array().unwrap();
        assert!(boxes.len() > 1, "{told}");
        for one in boxes {
            assert_eq!(one[1], one[2], "{told}");
            assert!(
                one[1].as_u64().unwrap() > 0 || one[0] != "critical",
                "{told}"
            );
            assert_eq!(one[3], false, "{told}");
        }

        if !axe.is_file() {
            skip("scripts/fetch-axe fetched nothing: its accessibility was not audited");
            continue;
        }
        let head = format!("<script src=\"file://{}\"></script>", axe.display());
        let audit = with_script(
            &page,
            &head,
            "const found=await axe.run(document,{resultTypes:['violations','incomplete']});\
             return {passes:found.passes.length,violations:found.violations.map(v=>\
             [v.id,v.nodes.length,v.nodes[0].html,v.nodes[0].failureSummary])}",
        );
        for scheme in [
            "--blink-settings=preferredColorScheme=1",
            "--blink-settings=preferredColorScheme=0",
        ] {
            let found = answer(&open(browser, folder.path(), &audit, &[scheme]));
            assert_eq!(
                found["violations"],
                serde_json::json!([]),
                "{scheme}: {found:#}"
            );
            assert!(found["passes"].as_u64().unwrap() > 10, "{found}");
        }
    }
}
