"""Chat templates that behave as those of well-known families do, each in a few lines.

What matters of each is what it refuses, leaves out or rewrites: roles, tools, reasoning, what stands at the end.
"""

from __future__ import annotations

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Takes every role as it is; knows neither tools nor reasoning."""

QWEN3 = r"""
{%- if tools %}{{- '<|im_start|>system\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
{{- '# Tools\n<tools>' }}{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\n</tools><|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(query=-1) %}
{%- for m in messages %}
{%- if m.role == 'user' and not m.content.startswith('<tool_response>') %}{%- set ns.query = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for m in messages %}
{%- set content = m.content if m.content is string else '' %}
{%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}
{{- '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}
{%- elif m.role == 'assistant' %}
{%- set thought = '' %}
{%- if m.reasoning_content is string %}{%- set thought = m.reasoning_content %}
{%- elif '</think>' in content %}
{%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\n') %}
{%- endif %}
{{- '<|im_start|>assistant\n' }}
{%- if loop.index0 > ns.query and (loop.last or thought) %}
{{- '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}
{%- endif %}
{{- content }}
{%- for call in m.tool_calls or [] %}
{%- if not loop.first or content %}{{- '\n' }}{%- endif %}
{%- set call = call.function if call.function else call %}
{{- '<tool_call>\n{"name": "' + call.name + '", "arguments": ' }}
{{- call.arguments if call.arguments is string else call.arguments | tojson }}{{- '}\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\n' }}
{%- elif m.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
{{- '\n<tool_response>\n' + content + '\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\n' }}{%- endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""
"""Writes an empty thought before the last answer only, and takes thoughts out of earlier answers."""

LLAMA3 = r"""
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] | trim %}
{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}
{{- '[system]\nToday Date: ' + strftime_now('%d %b %Y') + '\n\n' + system + eos_token }}
{%- if tools %}{%- set first = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{{- '[user]\nHere are functions:\n' }}
{%- for tool in tools %}{{- tool | tojson(indent=4) }}{{- '\n' }}{%- endfor %}{{- first + eos_token }}
{%- endif %}
{%- for m in messages %}
{%- if m.role == 'ipython' or m.role == 'tool' %}
{{- '[ipython]\n' }}
{%- if m.content is mapping %}{{- m.content | tojson }}{%- else %}{{- m.content }}{%- endif %}{{- eos_token }}
{%- elif 'tool_calls' in m %}
{%- if m.tool_calls | length != 1 %}{{- raise_exception('This model only supports single tool-calls at once!') }}
{%- endif %}
{%- set call = m.tool_calls[0].function %}
{{- '[assistant]\n{"name": "' + call.name + '", "parameters": ' }}{{- call.arguments | tojson }}{{- '}' + eos_token }}
{%- else %}{{- '[' + m['role'] + ']\n' + m['content'] | trim + eos_token }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '[assistant]\n' }}{%- endif %}
"""
"""Trims, writes the date, puts tools into the first request, and refuses two calls at once."""

MISTRAL = r"""
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}
{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}
{%- set users = loop_messages | selectattr('role', 'equalto', 'user') | list %}
{%- set ns = namespace(index=0) %}
{%- for m in loop_messages %}
{%- if not (m.role == 'tool' or (m.tool_calls is defined and m.tool_calls is not none)) %}
{%- if (m['role'] == 'user') != (ns.index % 2 == 0) %}
{{- raise_exception('conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}{%- set ns.index = ns.index + 1 %}
{%- endif %}
{%- endfor %}
{%- for m in loop_messages %}
{%- if m['role'] == 'user' %}
{%- if tools is not none and m == users[-1] %}{{- '[AVAILABLE_TOOLS]' }}{{- tools | tojson }}{{- '[/AVAILABLE_TOOLS]' }}
{%- endif %}
{%- if loop.last and system is defined %}{{- '[INST] ' + system + '\n\n' + m['content'] + '[/INST]' }}
{%- else %}{{- '[INST] ' + m['content'] + '[/INST]' }}{%- endif %}
{%- elif m.tool_calls is defined and m.tool_calls is not none %}
{{- '[TOOL_CALLS][' }}
{%- for call in m.tool_calls %}
{%- if call.id | length != 9 %}
{{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}
{%- endif %}
{{- '{"name": "' + call.function.name + '", "arguments": ' }}{{- call.function.arguments | tojson }}
{{- ', "id": "' + call.id + '"}' }}{{- ', ' if not loop.last else ']' + eos_token }}
{%- endfor %}
{%- elif m['role'] == 'assistant' %}{{- ' ' + m['content'] + eos_token }}
{%- elif m['role'] == 'tool' %}
{%- if m.tool_call_id | length != 9 %}
{{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}
{%- endif %}
{{- '[TOOL_RESULTS]{"content": ' + m.content + ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
{%- else %}{{- raise_exception('Only user and assistant roles are supported!') }}
{%- endif %}
{%- endfor %}
"""
"""Wants users and assistants in turn and ids of nine signs; the system prompt moves on to the last request."""

GEMMA = r"""
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{{- raise_exception('System role not supported') }}{%- endif %}
{%- for m in messages %}
{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- set role = 'model' if m['role'] == 'assistant' else m['role'] %}
{{- '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{%- endif %}
"""
"""Knows no system prompt, trims, and ends turns with words that are no end token here."""

R1 = r"""
{{- bos_token }}
{%- for m in messages %}{%- if m['role'] == 'system' %}{{- m['content'] }}{%- endif %}{%- endfor %}
{%- for m in messages %}
{%- if m['role'] == 'user' %}{{- '<User>' + m['content'] }}
{%- elif m['role'] == 'assistant' and m['tool_calls'] is defined and m['content'] is not defined %}
{{- '<Assistant>' }}
{%- for tool in m['tool_calls'] %}
{{- '<call>' + tool['function']['name'] + '\n```json\n' + tool['function']['arguments'] + '\n```' }}
{%- endfor %}{{- eos_token }}
{%- elif m['role'] == 'assistant' %}
{%- set content = m['content'] %}
{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1] %}{%- endif %}
{{- '<Assistant>' + content + eos_token }}
{%- elif m['role'] == 'tool' %}{{- '<result>' + m['content'] }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<Assistant><think>\n' }}{%- endif %}
"""
"""Takes the thought out of every answer, and opens one in the generation prompt."""

PHI3 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>\\n' + m['content'] + '<|end|>\\n' "
    "}}{% elif m['role'] == 'assistant' %}{{ '<|assistant|>\\n' + m['content'] + '<|end|>\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)
"""Leaves system turns and tools' results out in silence, and writes more behind the last turn."""

THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.thinking and loop.last %}{{ '<analysis>' + m.thinking + '</analysis>' }}{% endif %}"
    "{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Reads reasoning under another key, as gpt-oss does."""

FAMILIES = {
    "chatml": CHATML,
    "qwen3": QWEN3,
    "llama3": LLAMA3,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "r1": R1,
    "phi3": PHI3,
    "thinking": THINKING,
}
