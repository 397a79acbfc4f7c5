/* What a program calls, and what it is made of. */
int hidden_answer(void);
__attribute__((visibility("default"))) int public_answer(void);

int
public_answer(void)
{
        return hidden_answer();
}
