//! `portcullis reload`.

use anyhow::ensure;
use http::Method;
use serde_json::Value;

use super::{super::client::ApiError, CommandContext};
use portcullis::model::text::escaped;

/// Reloads the configuration of a gateway. Prints each warning, and each setting that requires a restart.
pub(super) async fn reload(context: &mut CommandContext<'_>) -> anyhow::Result<()> {
    ensure!(
        context.api.is_served(),
        "reload needs the admin API of a running gateway: pass --url, or send SIGHUP to the process"
    );
    let reply =
        context.api.send(Method::POST, "/configuration/reload", &[], None).await.map_err(explained)?;
    if context.json {
        writeln!(context.out, "{}", reply.body)?;
        return Ok(());
    }
    let texts = |name: &str| -> Vec<String> {
        let items = reply.body.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(|text| escaped(text).to_string()).collect()
    };
    for warning in texts("warnings") {
        writeln!(context.out, "{warning}")?;
    }
    let settings = texts("restart_required");
    if !settings.is_empty() {
        writeln!(context.out, "these settings take effect only after a restart: {}", settings.join(", "))?;
    }
    writeln!(context.out, "configuration reloaded")?;
    Ok(())
}

/// Replaces the text of a problem that lists the errors of a configuration, which has no members to point to.
fn explained(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<ApiError>() {
        Ok(problem) if problem.status == 422 => {
            let errors = problem.problem.get("errors").and_then(Value::as_array).into_iter().flatten();
            let details = errors.filter_map(|error| error.get("detail")?.as_str());
            let lines = details.map(|detail| format!("\n  {}", escaped(detail)));
            let head = "the configuration has errors, and nothing has changed".to_owned();
            let text = std::iter::once(head).chain(lines).collect();
            problem.with_text(text).into()
        }
        Ok(problem) => problem.into(),
        Err(error) => error,
    }
}
