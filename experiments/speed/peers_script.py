"""Runs another library on the same model and prompts, in the interpreter that has it.

The first line of standard input is a job as JSON: peer, folder, dtype, texts (rendered prompts),
ids and mask (the same, tokenised and left-padded), unit (a direction). Each further line names a
work to run once, which is answered by a line DONE, so that whoever asks can take turns. Nothing of
this project is imported here, because the peer's environment does not have it.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

DONE = "peer: done"


def nnsight(job: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Residual means and an ablation at the output of every block, in one trace each."""
    import torch
    from nnsight import LanguageModel

    dtype = getattr(torch, job["dtype"])
    model = LanguageModel(job["folder"], dtype=dtype, dispatch=True)
    inputs = {
        "input_ids": torch.tensor(job["ids"]),
        "attention_mask": torch.tensor(job["mask"]),
    }
    unit = torch.tensor(job["unit"], dtype=dtype)
    layers = model.model.layers

    def means() -> object:
        with torch.inference_mode(), model.trace(inputs):
            found = [layer.output[:, -1].float().mean(0) for layer in layers].save()
        return found  # noqa: RET504 - a trace keeps only what it binds to a name

    def ablate() -> object:
        with torch.inference_mode(), model.trace(inputs):
            for layer in layers:
                state = layer.output
                layer.output = state - (state @ unit)[..., None] * unit
            logits = model.lm_head.output[:, -1].float().log_softmax(-1).save()
        return logits  # noqa: RET504

    return {"means": means, "ablate": ablate}


def heretic(job: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Its own residual means, and its ablation of the weights followed by log probabilities."""
    sys.argv = sys.argv[:1]  # its settings read the command line
    import torch
    from heretic.config import Settings
    from heretic.model import AbliterationParameters, Model
    from heretic.utils import Prompt

    settings = Settings(
        model=job["folder"],
        dtypes=[job["dtype"]],
        device_map="cpu",
        batch_size=len(job["texts"]),
        row_normalization="none",
    )
    model = Model(settings)
    # The prompts are rendered already, so that they are the same tokens for everybody.
    model.tokenizer.apply_chat_template = lambda chats, **_: [chat[-1]["content"] for chat in chats]
    prompts = [Prompt(system="", user=text) for text in job["texts"]]
    n_layers = len(model.get_layers())
    directions = torch.tensor(job["unit"]).expand(n_layers + 1, -1)
    everywhere = AbliterationParameters(1.0, 0.0, 1.0, float(n_layers))
    parameters = {name: everywhere for name in model.get_abliterable_components()}

    def ablate() -> object:
        model.abliterate(directions, None, parameters)
        return model.get_logprobs_batched(prompts)

    return {"means": lambda: model.get_residuals_mean(prompts), "ablate": ablate}


PEERS = {"nnsight": nnsight, "heretic-llm": heretic}


def main() -> None:
    """Read the job from the first line, then run what each further line names, saying when."""
    job = json.loads(sys.stdin.readline())
    runs = PEERS[job["peer"]](job)
    for line in sys.stdin:
        runs[line.strip()]()
        sys.stdout.write(f"\n{DONE}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
