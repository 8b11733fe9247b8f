"""What a server that speaks OpenAI's chat API answers, and where."""

KEY = "sk-very-secret-123"
PATH = "/v1/chat/completions"


def answer(content="hello", reason="stop", logprobs=None, refusal=None):
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": logprobs}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "tiny"}
    return head | {"choices": [choice], "usage": usage}
