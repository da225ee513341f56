"""The pretended device notices faults; otherwise the other tests on it would say nothing."""

from __future__ import annotations

WAITS = {
    "float(x.sum())": "_local_scalar_dense",
    "bool((x > 0).all())": "_local_scalar_dense",
    "x.tolist()": "_to_copy",
    "x.cpu()": "_to_copy",
    "torch.ones(2).to(x.device)": "_to_copy",
    "x.copy_(torch.ones(2))": "copy_",
    "torch._foreach_copy_([x], [torch.ones(2)])": "_foreach_copy_",
    "torch.equal(x, x)": "equal",
    "x.nonzero()": "nonzero",
    "x[x > 0]": "index",
    "x[torch.tensor([0])]": "index",
    "(x.requires_grad_() ** 2).sum().backward(); x.grad.cpu()": "_to_copy",
}
NO_WAITS = [
    "x.mul_(2) + torch.tensor(1.0)",
    "x[:1].sum()",
    "x[torch.zeros(1, dtype=torch.long, device=x.device)]",
    "torch.rand(2, device=x.device).where(x > 0, 0.0)",
    "torch.ones(2).to(x.device, non_blocking=True)",
    "x.copy_(torch.ones(2), non_blocking=True)",
    "torch.ones(2).tolist()",
]
MIXED = [
    "x + torch.ones(2)",
    "x.add_(torch.ones(2))",
    "torch.ones(()).add_(x.sum())",
    "torch.cat([x, torch.ones(2)])",
    "torch.stack([x[0], torch.ones(())])",
    "torch.nn.Linear(2, 2)(x)",
    "torch._foreach_add_([x], [torch.ones(2)])",
]


def test_it_notes_waits_and_refuses_both_devices(attempt):
    lines = [*WAITS, *NO_WAITS, *MIXED]
    done = dict(zip(lines, attempt([f"python {line}" for line in lines]), strict=True))
    operations = {line: [wait[-1] for wait in done[line]["waits"]] for line in lines}
    assert {line: operations[line] for line in WAITS} == {k: [v] for k, v in WAITS.items()}
    assert {line: operations[line] for line in NO_WAITS} == {k: [] for k in NO_WAITS}
    refused = [line for line in lines if "Expected all tensors to be on" in done[line]["error"]]
    assert refused == MIXED == [line for line in lines if done[line]["error"]]
