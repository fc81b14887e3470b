"""Names of the languages that `language_of` tells apart."""

from kamerton.core.messages import Message, msg

LANGUAGES: dict[str, Message] = {
    str(name): name
    for name in (
        msg("English"), msg("German"), msg("French"), msg("Spanish"), msg("Italian"), msg("Portuguese"), msg("Dutch"),
        msg("Polish"), msg("Chinese"), msg("Japanese"), msg("Korean"), msg("Arabic"), msg("Hebrew"), msg("Greek"),
        msg("Hindi"), msg("Thai"), msg("Georgian"), msg("Armenian"), msg("Ukrainian"), msg("Belarusian"),
        msg("Russian")
    )
}  # fmt: skip
